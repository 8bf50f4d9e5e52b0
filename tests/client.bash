# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # bats sets $status and $output
#
# OpenSSH's clients, in the machine, with the server that setup.sh has installed there.

# shellcheck source=tests/machine.bash
. "$BATS_TEST_DIRNAME/machine.bash"

# Install the server, in an environment; keep what setup.sh said, and the password in
# $PASS, and make an ssh configuration that knows the server as "demo".
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

# Make the ssh configuration: "demo" is the server on $port. "pipe" is an sshd of its own
# for each connection, on the tree in use, started as setup.sh starts the server.
client_setup() {
	printf '#!/bin/sh\nprintf "%%s\\n" "$PASS"\n' >"$work/askpass"
	chmod 755 "$work/askpass"
	there 'cat /etc/ssh/*.pub; ssh-keygen -y -f "$0/now/ssh_host_key"' "$base" 2>/dev/null |
		sed 's/^/* /' >"$work/known_hosts"
	cat >"$work/ssh_config" <<-END
		Host pipe
		ProxyCommand unshare -m --propagation slave sh $base/now/start $base/now $(command -v sshd) -i -e -f $base/now/sshd_config 2>>$work/pipe.log
		Host demo pipe
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
		ConnectTimeout 10
		# The newer ones cost more than all the rest of a login.
		KexAlgorithms curve25519-sha256
		EscapeChar none
		LogLevel ERROR
	END
}

# Start the server as setup.sh does, by hand.
serve() {
	there 'setsid unshare -m --propagation slave sh "$0/now/start" "$0/now" "$(command -v sshd)" -D -e -f "$0/now/sshd_config" \
		</dev/null >>/var/log/echo-shell.log 2>&1 & echo $! >/run/echo-shell.pid' "$base"
	wait_for there 'grep -q " 00000000000000000000000000000000:$0 .* 0A " /proc/net/tcp6' "$(printf %04X "$port")"
}

# Run ssh, or another of OpenSSH's clients, or talk with one of them, with the password
# in $PASS, and note its pid for end_test in the test's $dir.
client() {
	in_machine env SHELL=/bin/sh SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force \
		sh -c 'echo $$ >>"$0/clients"; exec "$@"' "$dir" "$@"
}

# Run ssh with further arguments. Each comes from an address of its own: sshd makes one
# wait after a few failures (PerSourcePenalties).
ssh_to() {
	client ssh -F "$work/ssh_config" -b "127.$((RANDOM % 250)).$((RANDOM % 250)).$((RANDOM % 250 + 1))" "$@"
}

# See that a key that is sent without a terminal comes back. Arguments go to ssh.
echoes() {
	same "$(answer "'hi'")" "$(printf hi | ssh_to "${@:-demo}")"
}

# See that ssh is not let in. Arguments go to ssh.
denied() {
	run ssh_to "${@:-demo}" </dev/null
	same 255 "$status"
	has "$output" "Permission denied"
}

# Keep a session open whose input is the FIFO $dir/in.NAME and whose output $dir/out.NAME.
# Further arguments go to ssh.
hold() {
	mkfifo "$dir/in.$1"
	[ $# != 1 ] || set -- "$1" demo
	ssh_to "${@:2}" <>"$dir/in.$1" >"$dir/out.$1" 2>&1 &
	printf x >"$dir/in.$1"
	wait_for grep -q "$prefix'x'" "$dir/out.$1"
}

# Return whether a session that is held answers (and by that, that its client lives).
held() {
	printf y >"$dir/in.$1"
	wait_for grep -q "$prefix'y*'" "$dir/out.$1"
}

# Start as many ssh that log in and open no session, but leave that to others at $dir/m1,
# $dir/m2 and so on.
masters() {
	local i

	for ((i = 1; i <= $1; i++)); do
		ssh_to -NM -S "$dir/m$i" demo &
		disown # or bash tells of its end
	done
	for ((i = 1; i <= $1; i++)); do
		wait_for [ -S "$dir/m$i" ]
	done
}

# Print the pids of the programs in the machine that have reached their sandbox.
served() {
	there 'grep -ls "^Seccomp:.2" $(grep -lsx "Name:.echo-shell" /proc/[0-9]*/status) /dev/null' |
		cut -d / -f 3
}

# Return whether that many programs serve.
serving() {
	same "$1" "$(served | wc -l)"
}

# A machine with a server for all tests of a file, each with a folder of its own; or, with
# each=machine, one for each test.
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
		[ -n "$no_machine" ] || server_up
	}

	teardown_file() {
		machine_down
	}

	setup() {
		need_machine
		dir=$(mktemp -d "$work/test.XXXXXX")
		: >"$dir/clients"
		wait_for serving 0
	}

	teardown() {
		end_test
	}
fi
