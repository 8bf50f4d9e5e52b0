# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # bats sets $status and $output
#
# A test that needs root gets a machine of its own: private mount, pid and network
# namespaces, the root file system read-only, and copies of what setup.sh writes to.
# Where namespaces are refused, such tests skip; with TEST_HERE=1 they use the machine
# they run on, and remove all that they install.

top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
program=$top/echo-shell
prefix='echo: '
own=/etc/ssh/echo-shell
lock=/etc/ssh/sshd_config.d/echo-shell.conf
admin=$own-local.conf
default_port=$(sed -n 's/^Port //p' "$top/sshd_config.d/port-2022/sshd_config")
PATH=$PATH:/usr/sbin:/sbin
unset PREFIX DESTDIR # of make install
unset SUDO_USER      # setup.sh puts sudo before what it tells to type
export top program prefix own lock admin default_port PATH

# --- any test ---------------------------------------------------------------

# Run a command every tenth of a second until it succeeds. Fail after 20 s.
wait_for() {
	local i

	for ((i = 0; i < 200; i++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	echo "waited 20 s in vain for: $*"
	return 1
}

# Compare what is expected and what came; show both where they differ.
same() {
	[ "$1" = "$2" ] && return
	printf 'expected: %s\ncame:     %s\n' "$1" "$2"
	return 1
}

# Find a part in a text; show both where it is not there.
has() {
	case $1 in *"$2"*) return 0 ;; esac
	printf 'not found: %s\nin:        %s\n' "$2" "$1"
	return 1
}

# Run a command that must fail.
fails() {
	if "$@"; then
		echo "should have failed: $*"
		return 1
	fi
}

# Print the answer of which this is the repr, but for its LF, which $(...) drops too.
answer() {
	printf '%s%s\r' "$prefix" "$1"
}

# --- a machine --------------------------------------------------------------

# What the first process of the new namespaces does: copies in place of what setup.sh
# writes to, with the distribution's sshd_config, and without an echo-shell and the
# ordinary users of the host;
# then it reaps, as a first process must. /tmp is new but for $1, the test's folder.
first_process='
	set -e
	read -r pid rest </proc/self/stat
	mount --bind "$1" "$1" # stays writable
	mount -t tmpfs -o size=64m,mode=755 tmpfs "$1/over"
	mkdir "$1/over/bin" "$1/over/log"
	cp -a /etc "$1/over/etc"
	cd "$1/over/etc"
	rm -rf ssh/echo-shell* ssh/sshd_config.d/* systemd/system/echo-shell* systemd/system/*/echo-shell*
	[ ! -e /usr/share/openssh/sshd_config ] || cp /usr/share/openssh/sshd_config ssh/sshd_config
	# A wrong password is not to cost two seconds.
	[ ! -e pam.d/common-auth ] || sed -i "s/pam_unix.so/& nodelay/" pam.d/common-auth
	for file in passwd group; do
		cp "$file" "$file-"
		awk -F : "(\$3 < 1000 || \$3 > 60000) && !/^demo:|echo-shell/" "$file-" >"$file"
	done
	cd /
	mount -o remount,bind,ro /
	mount --bind "$1/over/etc" /etc
	pwconv
	grpconv
	mount --bind "$1/over/bin" /usr/local/bin
	mount --bind "$1/over/log" /var/log
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	echo 9 >/sys/class/net/lo/flags # up and loopback, without iproute2
	mkdir /run/work /run/sshd
	mount --rbind "$1" /run/work
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mkdir -p "$1"
	mount --rbind /run/work "$1"
	umount -l /run/work
	rmdir /run/work
	echo "$pid" >"$1/pid.new"
	mv "$1/pid.new" "$1/pid"
	set +e
	while :; do sleep 10000 & wait; done # until reset kills the sleep
'

# Make the machine, with a copy of the project in $work/project. Where that cannot be
# done, leave the reason in $no_machine, for need_machine.
machine_up() {
	no_machine=
	export work dir machine no_machine port PASS shims fast
	if [ "$(id -u)" != 0 ]; then
		no_machine="needs root: sudo ./setup.sh test"
		return
	fi
	work=$(mktemp -d)
	dir=$work
	shims=PATH=$work/bin:$PATH
	chmod 755 "$work"
	mkdir "$work/over" "$work/project" "$work/bin" "$work/fast"
	fast=PATH=$work/fast:$PATH
	printf '#!/bin/sh\necho "%s"\n' "$prefix'setup'" >"$work/fast/ssh"
	chmod 755 "$work/fast/ssh"
	: >"$work/clients"
	if [ -n "${TEST_HERE-}" ]; then
		if ls -d "$own"* 2>/dev/null || getent passwd demo; then
			echo "there is an echo-shell, a file of its administrator or an account demo here: remove it first"
			return 1
		fi
	else
		# A small table of connections, where the kernel can: to read /proc/net/tcp, it
		# goes through all of the table.
		unshare --net sh -c 'echo 1024 2>/dev/null >/proc/sys/net/ipv4/tcp_child_ehash_entries
			exec unshare --mount --pid --net --fork sh -c "$@"' sh "$first_process" sh "$work" >"$work/unshare" 2>&1 3>&- &
		disown # or bash tells of its end
		until [ -e "$work/pid" ]; do
			if ! kill -0 "$!" 2>/dev/null; then
				no_machine="no namespaces here ($(tail -n 1 "$work/unshare")); TEST_HERE=1 ./setup.sh test uses this machine itself"
				return
			fi
			sleep 0.02
		done
		machine=$(cat "$work/pid")
	fi
	(cd "$top" && tar -cf - Makefile README echo-shell.c echo-shell setup.sh sshd_config.d tests) |
		tar -C "$work/project" -xf -
}

# Skip the test where there is no machine for it, or, with a reason, on this one itself.
need_machine() {
	[ -z "$no_machine" ] || skip "$no_machine"
	[ -z "${1-}" ] || [ -z "${TEST_HERE-}" ] || skip "$1: only in namespaces"
}

# Run a command in the machine, in the copy of the project.
in_machine() {
	if [ -n "${TEST_HERE-}" ]; then
		(cd "$work/project" && exec "$@") 3>&-
	else
		nsenter -t "$machine" -m -p -n \
			sh -c 'cd "$0" && exec "$@"' "$work/project" "$@" 3>&-
	fi
}

# The same for a line of shell.
there() {
	in_machine sh -c "$@"
}

# Run setup.sh. The trial login has its answer at once: a test that logs in itself needs
# no other. For the real one, or with $shims, there is in_machine.
setup_sh() {
	in_machine env "$fast" ./setup.sh "$@"
}

# Run setup.sh with arguments, which must end with a status and say a text; says_only: and
# nothing else.
says() {
	run setup_sh "${@:3}"
	same "$1" "$status"
	has "$output" "$2"
}

says_only() {
	run setup_sh "${@:3}"
	same "$1 $2" "$status $output"
}

# End the machine and all that runs in it.
machine_down() {
	[ -z "$no_machine" ] || return 0
	if [ -n "${TEST_HERE-}" ]; then
		rm -f "$own"-* # the tests' own: machine_up saw none
		setup_sh uninstall >/dev/null
	else
		kill -KILL "$machine"
	fi
	rm -rf "$work"
}

# Print the last lines that the server and the system's sshd have logged.
server_log() {
	there 'tail -n 15 /var/log/echo-shell.log /run/system-sshd.log
		[ ! -d /run/systemd/system ] || journalctl -n 15 -o cat -u echo-shell' 2>/dev/null || :
}

# Show the log after a failure, and kill the clients that a test left. It is a teardown.
end_test() {
	local pid

	[ -z "$no_machine" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || server_log
	while read -r pid; do
		in_machine kill -KILL "$pid" 2>/dev/null || :
	done <"$dir/clients"
}

# Print what is in the folders that setup.sh may write to, but for the account tools' own
# backups and the record of logins; and a checksum where it does write.
tree() {
	there 'cd / && find etc usr/local/bin var/log ! -name "*-" ! -name "[bw]tmp*" ! -name lastlog ! -name faillog -printf "%M %U %G %p\n"
		find etc -maxdepth 1 -type f ! -name "*-" -exec cksum {} + &&
		find etc/ssh etc/systemd usr/local/bin -type f -exec cksum {} +' | sort -k 4
}

# See that these lines, each of which an argument gives, are in a file.
lines_in() {
	local line

	for line in "${@:2}"; do
		grep -qxF -e "$line" "$1" || has "$(cat "$1")" "$line"
	done
}

# See that nothing differs from a tree that was kept in a file; else show where it begins.
same_tree() {
	tree >"$work/tree.now"
	cmp -s "$1" "$work/tree.now" || {
		diff "$1" "$work/tree.now" | head -n 20
		return 1
	}
}

# Keep the state of the machine under a name; go back to it: no process but the first.
snapshot() {
	there 'cd / && tar -cf "$0/over/$1.tar" etc/passwd* etc/group* etc/*shadow* etc/ssh etc/systemd/system usr/local/bin' "$work" "$1"
}

reset() {
	there 'kill -KILL -1; cd / && rm -rf etc/ssh/* etc/systemd/system/* usr/local/bin/* \
			run/*.pid run/echo-shell* var/log/echo-shell.log &&
		tar -xpf "$0/over/$1.tar"' "$work" "$1"
}

# Put a program before the one of its name: it does what a line of shell says, with "$@",
# and then becomes the real one. What runs with $shims as PATH finds it.
shim() {
	printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$2" "$(command -v "$1")" >"$work/bin/$1"
	chmod 755 "$work/bin/$1"
}

# Start the system's sshd as it is configured, with further options; wait for its pid in
# a file, /run/sshd.pid or $1.
system_sshd_up() {
	local pid=${1:-/run/sshd.pid}

	there 'key=/etc/ssh/ssh_host_ed25519_key
		[ -e "$key" ] || ssh-keygen -q -t ed25519 -N "" -f "$key"
		shift
		"$(command -v sshd)" -E /run/system-sshd.log "$@"' sh "$@"
	wait_for in_machine test -s "$pid"
}

# Print the pid of the server. Where systemd runs, its pid file is in a /run of its own.
server_pid() {
	there 'if [ -d /run/systemd/system ]; then systemctl show -p MainPID --value echo-shell; else cat /run/echo-shell.pid; fi'
}

# Stop the server, or the sshd with this pid file.
stop_sshd() {
	local pid

	if [ -n "${1-}" ]; then
		wait_for in_machine test -s "$1" # after a SIGHUP it is away for a moment
		pid=$(in_machine cat "$1")
	else
		pid=$(server_pid)
	fi
	in_machine kill "$pid"
	wait_for fails in_machine test -e "/proc/$pid"
}

# --- a client ---------------------------------------------------------------

# Install the server, in an environment; keep what setup.sh said and the password, and
# make an ssh configuration that knows the server as "demo". With an environment, the trial
# login is the real one.
# shellcheck disable=SC2120 # tests give arguments
server_up() {
	in_machine env "${@:-$fast}" ./setup.sh >"$work/said" 2>&1 || {
		cat "$work/said"
		return 1
	}
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
	port=$(sed -n 's/^  log in     ssh -p \([0-9]*\) .*/\1/p' "$work/said")
	client_setup
}

# Make the ssh configuration for the sshd on $port.
client_setup() {
	printf '#!/bin/sh\nprintf "%%s\\n" "$PASS"\n' >"$work/askpass"
	chmod 755 "$work/askpass"
	there 'cat /etc/ssh/*.pub; ssh-keygen -y -f "$0/ssh_host_key"' "$own" 2>/dev/null |
		sed 's/^/* /' >"$work/known_hosts"
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
		ConnectTimeout 10
		# The newer ones cost more than all the rest of a login.
		KexAlgorithms curve25519-sha256
		EscapeChar none
		LogLevel ERROR
	END
}

# Run ssh, or another of OpenSSH's clients, or talk with one of them, with the password
# in $PASS, and note its pid for end_test in the test's $dir.
client() {
	in_machine env SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force \
		sh -c 'echo $$ >>"$0/clients"; exec "$@"' "$dir" "$@"
}

# Run ssh to the server; further arguments may be options and a command. Each from an
# address of its own: sshd makes one wait after a few failures (PerSourcePenalties).
ssh_demo() {
	client ssh -F "$work/ssh_config" -b "127.$((RANDOM % 250)).$((RANDOM % 250)).$((RANDOM % 250 + 1))" "$@"
}

# See that a key that is sent without a terminal comes back. Arguments go to ssh.
echoes() {
	same "$(answer "'hi'")" "$(printf hi | ssh_demo "${@:-demo}")"
}

# See that ssh is not let in. Arguments go to ssh.
denied() {
	run ssh_demo "${@:-demo}" </dev/null
	same 255 "$status"
	has "$output" "Permission denied"
}

# Start as many ssh that log in and open no session, but leave that to others at $dir/m1,
# $dir/m2 and so on.
masters() {
	local i

	for ((i = 1; i <= $1; i++)); do
		ssh_demo -NM -S "$dir/m$i" demo &
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

# Return whether the account has no process, be it sshd's.
nobody_home() {
	! there 'grep -lE "^Uid:.($(id -u demo))\b" /proc/[0-9]*/status' 2>/dev/null
}

# Talk to what the arguments after -- start on a pty, by the table on stdin, which is sent
# once a condition holds, the words before --; $dir/met is there from then on.
talk_when() {
	local condition=() talk

	while [ "$1" != -- ]; do
		condition+=("$1")
		shift
	done
	shift
	mkfifo "$dir/table"
	"$@" <"$dir/table" >"$dir/talked" 2>&1 3>&- &
	talk=$!
	exec 9>"$dir/table"
	wait_for "${condition[@]}" || {
		cat "$dir/talked" "$dir/err"
		return 1
	}
	: >"$dir/met"
	cat >&9
	exec 9>&-
	wait "$talk" || {
		cat "$dir/talked"
		return 1
	}
	rm "$dir/table"
}

# --- setup.sh, stopped at its steps -----------------------------------------

# Make a machine in which these tools count their calls that change something. At step $AT
# the tool does what $HOW says: it fails, or sends that signal to setup.sh when it is
# done.
machine_with_steps() {
	machine_up
	need_machine "stops setup.sh at every step"
	for tool in mkdir cp mv rm useradd userdel usermod groupadd groupdel chpasswd sync ssh; do
		PATH=${fast#PATH=} shim "$tool" '
			exec 9>&- # not to keep the turn for setup.sh
			for last; do :; done
			case "$last $* " in
			/run/echo-shell.*|*" -t "*|*" -T "*|*" --help "*) ;;
			*)
				read -r step <"'"$work"'/steps"
				step=$((step + 1))
				echo "$step" >"'"$work"'/steps"
				# A signal comes again at each step of going back.
				if [ "$step" -gt "$AT" ] && [ "$HOW" != fail ] && [ "$HOW" != KILL ]; then
					read -r pid <"'"$work"'/pid.setup"
					kill -s "$HOW" "$pid"
				fi
				if [ "$step" = "$AT" ]; then
					echo "'"$tool"' $*" >"'"$work"'/stopped"
					[ "$HOW" != fail ] || { echo "'"$tool"' is broken" >&2; exit 1; }
					'"$(PATH=${fast#PATH=} command -v "$tool")"' "$@"
					status=$?
					read -r pid <"'"$work"'/pid.setup"
					kill -s "$HOW" "$pid"
					exit "$status"
				fi
				;;
			esac'
	done
	tree >"$work/before"
}

# Run setup.sh, and stop it at a step: how, which step, its arguments. Fail where that
# step was not reached.
stop_at() {
	local how=$1 at=$2

	shift 2
	echo 0 >"$work/steps"
	rm -f "$work/stopped"
	# What runs in the background has SIGINT ignored, which a shell cannot take back.
	in_machine env --default-signal=INT,QUIT HOW="$how" AT="$at" "$shims" ${environment+"$environment"} sh -c \
		'echo "$$" >"$0/pid.setup"; exec ./setup.sh "$@"' "$work" "$@" >"$work/said" 2>&1 || :
	[ -e "$work/stopped" ]
}

# See that no demo account has a password where the system's sshd would let it in.
no_open_account() {
	there 'for user in $(getent passwd | grep ":echo-shell demo user:" | cut -d: -f1); do
		case $(getent shadow "$user" | cut -d: -f2) in
		!*) ;;
		*) sshd -T -C "user=$user,host=localhost,addr=127.0.0.1" | grep -qi -e "^denygroups echo-shell" -e "^forcecommand exec /usr/local/bin/echo-shell" || exit ;;
		esac
	done'
}

# A machine for each test; or one with a server for all tests of a file that has said
# each=session, each with a folder of its own; or, with each=step, one whose tools count.
case ${each-machine} in
machine)
	setup() {
		machine_up
		need_machine
	}

	teardown() {
		end_test
		machine_down
	}
	;;
session)
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
	;;
step)
	setup() {
		machine_with_steps
	}

	# Show where setup.sh was stopped last and what it said, after a failure.
	teardown() {
		[ -n "$no_machine" ] || [ -n "${BATS_TEST_COMPLETED-}" ] || cat "$work/stopped" "$work/said" || :
		end_test
		machine_down
	}
	;;
esac
