# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # bats sets $status and $output
#
# OpenSSH's clients, in a machine with the server.

# shellcheck source=tests/machine.bash
. "$BATS_TEST_DIRNAME/machine.bash"

# Run setup.sh with an environment, which must succeed, and get to know the server. What it
# printed is in $work/said, the password in $PASS.
# shellcheck disable=SC2120 # tests give arguments
server_up() {
	in_machine env "$@" ./setup.sh >"$work/said" 2>&1 || {
		cat "$work/said"
		return 1
	}
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
	port=$(sed -n 's/^  log in     ssh -p \([0-9]*\) .*/\1/p' "$work/said")
	client_setup
}

# Install the server once for all tests of a run, and keep the files that this makes.
install_server() {
	server_up || return
	echo "$port $PASS" >"$kept/login"
	cp "$work/said" "$kept/said"
	tar -C "$root" -cf "$kept/server.tar" etc/passwd etc/group etc/shadow etc/gshadow etc/echo-shell \
		etc/systemd/system/echo-shell.service usr/local/bin usr/local/lib var/log/echo-shell.log
}

# Give the machine the server as a first install leaves it, running, without setup.sh.
restore() {
	once install_server
	read -r port PASS <"$kept/login"
	if [ ! -e "$root$state/machine.conf" ]; then
		cp "$kept/said" "$work/"
		tar -C "$root" --numeric-owner -xpf "$kept/server.tar"
		serve
	fi
	client_setup
}

# Start the server as setup.sh does. Arguments are further options for sshd.
# shellcheck disable=SC2120 # tests give arguments
serve() {
	there 'mkdir -p -m 700 /run/echo-shell
		setsid unshare -m --propagation slave sh "$0/start" namespace /run/echo-shell/sshd.pid -D "$@" \
		</dev/null >>/var/log/echo-shell.log 2>&1 &' "$lib" "$@"
	wait_for listening "$port"
}

# Make the ssh configuration, where "demo" is the server on $port.
client_setup() {
	local key keys=("$root/etc/ssh/"*.pub "$root$state/"*.pub)

	for key in "${keys[@]}"; do
		[ ! -e "$key" ] || echo "* $(<"$key")"
	done >"$work/known_hosts"
	printf '#!/bin/sh\nprintf "%%s\\n" "$PASS"\n' >"$work/askpass"
	chmod 755 "$work/askpass"
	cat >"$work/ssh_config" <<-END
		Host demo
		User demo
		Host *
		HostName 127.0.0.1
		Port $port
		UserKnownHostsFile $work/known_hosts
		GlobalKnownHostsFile /dev/null
		StrictHostKeyChecking yes
		IdentityFile none
		IdentityAgent none
		NumberOfPasswordPrompts 1
		ConnectTimeout $LIMIT
		# The newer ones cost more than all the rest of a login.
		KexAlgorithms curve25519-sha256
		EscapeChar none
		LogLevel ERROR
	END
}

# Run ssh, or another of OpenSSH's clients, or talk with one of them, with the password
# in $PASS. Its pid is noted for end_test.
client() {
	there 'export SHELL=/bin/sh SSH_ASKPASS="$0/askpass" SSH_ASKPASS_REQUIRE=force
		echo $$ >>"$1/clients" && shift && exec "$@"' "$work" "$dir" "$@"
}

# Set $source to an address from which no connection of this machine has come: sshd makes
# one wait after a few failures (PerSourcePenalties). A file is the counter of all shells.
new_source() {
	local -

	: "${sources:=0}"
	set -C +T
	until { : >"$work/from/$sources"; } 2>/dev/null; do ((++sources)); done
	source=127.1.$((sources / 250)).$((sources % 250 + 1))
}

# Run ssh from an address of its own. Arguments go to ssh.
ssh_to() {
	new_source
	client ssh -F "$work/ssh_config" -b "$source" "$@"
}

# Compare the answer to bytes that are sent without a terminal. Arguments go to ssh.
echoes() {
	assert_equal "$(answer "'hi'")" "$(printf hi | ssh_to "${@:-demo}")"
}

# Run ssh, which must not be let in. Arguments go to ssh.
denied() {
	run ssh_to "${@:-demo}" </dev/null
	assert_equal 255 "$status"
	assert_contains "$output" "Permission denied"
}

# Keep a session open whose input is the FIFO $dir/in.NAME and whose output $dir/out.NAME.
# $1 is NAME; further arguments go to ssh.
hold() {
	mkfifo "$dir/in.$1"
	[ $# != 1 ] || set -- "$1" demo
	ssh_to "${@:2}" <>"$dir/in.$1" >"$dir/out.$1" 2>&1 &
	printf x >"$dir/in.$1"
	wait_for holds "$dir/out.$1" "$prefix'x"
}

# Return whether a session that is held answers once more.
held() {
	local before

	before=$(<"$dir/out.$1")
	printf y 1<>"$dir/in.$1" # opened for writing alone it would wait for a reader
	wait_for holds "$dir/out.$1" "$before"$'\n'"$(answer "'y'")"
}

# Start $1 clients that log in and open no session, but let others do so at $dir/m1,
# $dir/m2 and so on.
masters() {
	local i

	for ((i = 1; i <= $1; i++)); do
		ssh_to -NM -S "$dir/m$i" demo &
		disown # or bash reports its end
	done
	for ((i = 1; i <= $1; i++)); do
		wait_for [ -S "$dir/m$i" ]
	done
}

# Set $pids to those, in the machine, of the programs that are in their sandbox.
find_served() {
	local file text

	pids=()
	for file in "$proc"/[0-9]*/status; do
		slurp "$file" || continue
		file=${file%/status}
		[[ $text != $'Name:\techo-shell\n'*$'\nSeccomp:\t2\n'* ]] || pids+=("${file##*/}")
	done
}

# Print them.
served() {
	local - pids

	set +T
	find_served
	[ ${#pids[@]} = 0 ] || printf '%s\n' "${pids[@]}"
}

# Return whether that many programs serve.
serving() {
	local pids

	find_served
	assert_equal "$1" "${#pids[@]}"
}

# Return whether no process is in the machine but its first and the server's listener. Print
# the others.
alone() {
	local file text server others=

	server=$(server_pid)
	for file in "$proc"/[0-9]*; do
		slurp "$file/comm" || continue
		case ${file##*/} in 1 | "$keeper" | "$server") ;; *) others+=" ${file##*/} ${text%?}" ;; esac
	done
	[ -z "$others" ] || { echo "left behind:$others" && return 1; }
}

# A machine with a server for all tests of a file, each with a folder of its own; or, with
# each=machine, a new machine for each test, and the server where a test asks for it.
if [ "${each-}" = machine ]; then
	setup() {
		machine_up
		need_machine
	}

	teardown() {
		end_test
		machine_down
	}
else
	setup_file() {
		machine_up
		[ -n "$no_machine" ] || restore
	}

	teardown_file() {
		machine_down
	}

	# A test that failed, or left something behind, has ended the machine: make another.
	setup() {
		need_machine
		if [ ! -e "$proc" ]; then
			made=yes
			machine_up
			restore
		fi
		dir=$(mktemp -d "$work/test.XXXXXX")
		: >"$dir/clients"
	}

	teardown() {
		[ -z "$no_machine" ] || return 0
		end_test
		if [ -z "${BATS_TEST_COMPLETED-}" ]; then
			machine_down
		elif ! wait_for alone; then
			machine_down
			return 1
		fi
		[ -z "${made-}" ] || machine_down
	}
fi
