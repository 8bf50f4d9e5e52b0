# SPDX-License-Identifier: ISC
# shellcheck shell=bash
#
# A test that needs root gets a machine of its own: private mount, pid and
# network namespaces with overlays over all that setup.sh writes. Where
# namespaces are refused, such tests skip; with TEST_HERE=1 they use the machine
# they run on, and take off all that they put on.

top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
program=$top/echo-shell
export top program

# Runs a command every tenth of a second until it succeeds; fails after 20 s.
wait_for() {
	local i

	for ((i = 0; i < 200; i++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	echo "waited 20 s in vain for: $*"
	return 1
}

# Takes what is expected and what came; shows both where they differ.
same() {
	[ "$1" = "$2" ] && return
	printf 'expected: %s\ncame:     %s\n' "$1" "$2"
	return 1
}

# Takes a text and a part that it must have.
has() {
	case $1 in *"$2"*) return ;; esac
	printf 'not found: %s\nin:        %s\n' "$2" "$1"
	return 1
}

# Takes a command that must fail.
fails() {
	if "$@"; then
		echo "should have failed: $*"
		return 1
	fi
}

# --- a machine --------------------------------------------------------------

# Inside the new namespaces, as their first process: overlays, loopback, and then
# what a first process does, reaping.
# shellcheck disable=SC2016 # expanded by the inner shell
inner='
	read -r pid rest </proc/self/stat
	mount -t tmpfs -o size=64m tmpfs "$1/over" || exit
	for dir in /etc /usr/local /var; do
		mkdir -p "$1/over$dir/new" "$1/over$dir/work"
		mount -t overlay overlay -o "lowerdir=$dir,upperdir=$1/over$dir/new,workdir=$1/over$dir/work" "$dir" || exit
	done
	mount -t tmpfs tmpfs /run && mount -t proc proc /proc && mount -t sysfs sysfs /sys &&
		echo 9 >/sys/class/net/lo/flags || exit # up and loopback, without iproute2
	# A /tmp of its own with $1 in it: a setup.sh that is killed leaves a folder there.
	mkdir /run/work && mount --rbind "$1" /run/work && mount -t tmpfs -o mode=1777 tmpfs /tmp &&
		mkdir -p "$1" && mount --rbind /run/work "$1" && umount -l /run/work || exit
	echo "$pid" >"$1/pid.new" && mv "$1/pid.new" "$1/pid"
	while :; do sleep 0.2; done
'

# Makes the machine, with a copy of the project in $work/project. Where it cannot,
# leaves the reason in $no_machine, for need_machine.
machine_up() {
	no_machine=
	dir=
	export work dir no_machine port PASSWORD
	if [ "$(id -u)" != 0 ]; then
		no_machine="needs root: sudo ./setup.sh test"
		return
	fi
	work=$(mktemp -d)
	chmod 755 "$work"
	mkdir "$work/over" "$work/project"
	if [ -n "${TEST_HERE-}" ]; then
		if [ -e /etc/ssh/echo-shell ] || getent passwd demo; then
			echo "there is an echo-shell or an account demo here: take it off first"
			return 1
		fi
	else
		unshare --mount --pid --net --fork sh -c "$inner" sh "$work" >"$work/unshare" 2>&1 3>&- &
		disown # or bash tells of its end
		until [ -e "$work/pid" ]; do
			if ! kill -0 "$!" 2>/dev/null; then
				no_machine="no namespaces here ($(tail -n 1 "$work/unshare")); TEST_HERE=1 ./setup.sh test uses this machine itself"
				return
			fi
			sleep 0.05
		done
	fi
	(cd "$top" && tar -cf - Makefile README echo-shell.c echo-shell setup.sh sshd_config.d tests) |
		tar -C "$work/project" -xf -
	# The overlays begin with what this machine has, an echo-shell perhaps.
	[ -n "${TEST_HERE-}" ] || in_machine sh -c './setup.sh uninstall; ! getent passwd demo || userdel demo' >/dev/null
}

# Skips the test where there is no machine for it.
need_machine() {
	[ -z "$no_machine" ] || skip "$no_machine"
}

# Runs a command in the machine, in the copy of the project.
in_machine() {
	if [ -n "${TEST_HERE-}" ]; then
		(cd "$work/project" && exec "$@") 3>&-
	else
		# shellcheck disable=SC2016 # expanded by the inner shell
		nsenter -t "$(cat "$work/pid")" -m -p -n \
			sh -c 'cd "$0" && exec "$@"' "$work/project" "$@" 3>&-
	fi
}

# Ends the machine and all that runs in it.
machine_down() {
	[ -z "$no_machine" ] || return 0
	if [ -n "${TEST_HERE-}" ]; then
		in_machine ./setup.sh uninstall >/dev/null
	else
		kill -KILL "$(cat "$work/pid")"
	fi
	rm -rf "$work"
}

# Prints the last lines that the server logged.
server_log() {
	in_machine sh -c 'tail -n 15 /var/log/echo-shell.log ||
		journalctl -n 15 -o cat -u echo-shell' 2>/dev/null || :
}

# After a failure, shows the log.
show_log() {
	[ -n "${BATS_TEST_COMPLETED-}" ] || server_log
}

# Starts the system's sshd as it is configured, with further options.
system_sshd_up() {
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'mkdir -p /run/sshd
		for type in rsa ecdsa ed25519; do
			[ -e /etc/ssh/ssh_host_${type}_key ] || ssh-keygen -q -t $type -N "" -f /etc/ssh/ssh_host_${type}_key
		done
		/usr/sbin/sshd -E /run/system-sshd.log "$@"' sh "$@"
	wait_for in_machine test -s /run/sshd.pid
}

# Prints what is in the folders that setup.sh writes to, but for what the system
# itself writes (the account tools' backups, the record of logins) and for what
# packages bring and this does not touch.
tree() {
	in_machine sh -c 'cd / && {
		cd etc && find . -type f ! -name "passwd-" ! -name "*group-" ! -name "*shadow-" -exec cksum {} +
		cd .. && find etc usr/local var/lib var/log \( -path "usr/local/*/*/*" -o -path "var/lib/[ad]p*" -o -path var/log/journal \) -prune -o ! -name "*-" ! -name lastlog ! -name "[bw]tmp*" ! -name faillog -exec stat -c "%A %U %G %n" {} +
	}' | sort -k 4
}

# --- a client ---------------------------------------------------------------

# Installs the server, keeps what setup.sh said and the password, and makes an
# ssh configuration that knows the server as "demo".
server_up() {
	in_machine ./setup.sh >"$work/said" 2>&1 || {
		cat "$work/said"
		return 1
	}
	PASSWORD=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
	port=$(sed -n 's/^  log in     ssh -p \([0-9]*\) .*/\1/p' "$work/said")
	export PASSWORD port
	client_setup
}

client_setup() {
	cat >"$work/askpass" <<-'END'
		#!/bin/sh
		printf '%s\n' "$PASSWORD"
	END
	chmod 755 "$work/askpass"
	in_machine sh -c 'cat /etc/ssh/*.pub /etc/ssh/echo-shell/*.pub' 2>/dev/null |
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

# Runs ssh, or another of OpenSSH's clients, or talk with one of them, with the
# password in $PASSWORD, and notes its pid for end_clients in the test's $dir.
client() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_machine env SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force \
		sh -c 'echo $$ >>"$0/clients"; exec "$@"' "$dir" "$@"
}

# Runs ssh to the server; further arguments may be options and a command. Each from
# an address of its own: sshd has one wait after a few failures (PerSourcePenalties).
ssh_demo() {
	client ssh -F "$work/ssh_config" -b "127.$((RANDOM % 250)).$((RANDOM % 250)).$((RANDOM % 250 + 1))" "$@"
}

# Takes a number, or two; starts as many ssh that log in and open no session, but
# leave that to others at $dir/m1, $dir/m2 and so on.
masters() {
	local i

	for ((i = $1; i <= ${2-$1}; i++)); do
		ssh_demo -NM -S "$dir/m$i" demo &
		disown # or bash tells of its end
	done
	for ((i = $1; i <= ${2-$1}; i++)); do
		wait_for [ -S "$dir/m$i" ]
	done
}

# Kills the clients that a test left, in the background or by failing.
end_clients() {
	local pid

	while read -r pid; do
		in_machine kill -KILL "$pid" 2>/dev/null || :
	done <"$dir/clients"
}

# Prints the pids of the programs in the machine that have reached their sandbox.
served() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_machine sh -c 'grep -ls "^Seccomp:.2" $(grep -lsx "Name:.echo-shell" /proc/[0-9]*/status) /dev/null' |
		cut -d / -f 3
}

# Takes a number; whether that many programs serve.
serving() {
	[ "$(served | wc -l)" = "$1" ]
}

# Whether the account has no process, be it sshd's.
nobody_home() {
	# shellcheck disable=SC2016 # expanded in the machine
	! in_machine sh -c 'grep -lE "^Uid:.($(id -u demo))\b" /proc/[0-9]*/status' 2>/dev/null
}

# Takes seconds, and further options of ssh; tries to log in for that long. Says how
# it went.
good_login() {
	local limit=$1 tries=0 begun=$SECONDS

	shift
	until [ "$(printf hi | ssh_demo "$@" demo 2>/dev/null)" = "echo: 'hi'"$'\r' ]; do
		tries=$((tries + 1))
		[ $((SECONDS - begun)) -lt "$limit" ] || return
		sleep 0.5
	done
	echo "in after $tries refusals, $((SECONDS - begun)) s"
}
