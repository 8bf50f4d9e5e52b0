#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The server under load, and clients that do as they like or go away.

# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Have $1 sessions exchange lines until stop_talking: every other one with a pty, five to
# each of the masters $dir/m1, $dir/m2 and so on.
talk_on() {
	local i tty=-T mode=-u

	talks=()
	mkfifo "$dir/stop"
	exec 8<>"$dir/stop"
	for ((i = 0; i < $1; i++)); do
		client tests/talk "$mode" keep ssh "$tty" -F "$work/ssh_config" \
			-S "$dir/m$((i / 5 + 1))" demo <"$dir/stop" >"$dir/kept$i" 2>&1 &
		talks+=("$!")
		[ "$tty" = -T ] && tty=-tt mode=-t || tty=-T mode=-u
	done
	for ((i = 0; i < $1; i++)); do
		wait_for holds "$dir/kept$i" kept
	done
}

# End those sessions. Each must have got all its answers.
stop_talking() {
	local pid

	echo >"$dir/stop"
	for pid in "${talks[@]}"; do
		wait "$pid"
	done
	exec 8>&-
	assert_equal kept "$(cat "$dir"/kept* | sort -u)"
}

# Return whether the server has that many connections, logged in or not yet.
connected() {
	local text hex n

	slurp "/proc/$machine/net/tcp"
	printf -v hex ' [0-9A-F]{8}:%04X [0-9A-F:]+ 01 ' "$port"
	n=$(grep -cE "^ *[0-9]+:$hex" <<<"$text") || :
	assert_equal "$1" "$n"
}

@test "a client that does not speak SSH is ended, and other sessions go on" {
	masters 1
	talk_on 2
	client bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"; head -c 100000 /dev/urandom >&3; cat <&3' "$port" >"$dir/out" 2>&1 || :
	grep -qa 'Invalid SSH identification string' "$dir/out"
	wait_for serving 2
	stop_talking
}

@test "500 connections that never log in do not keep a good login out" {
	client bash -c 'for ((i = 0; i < 500; i++)); do exec {fd}<>"/dev/tcp/127.0.0.1/$0"; done
		: >"$1/connected"; exec sleep 1000' "$port" "$dir" &
	wait_for [ -e "$dir/connected" ]
	echoes # the first try
	# They have what one address may have.
	wait_for connected 50
	end_test
	wait_for connected 0
}

@test "wrong passwords, many at once, do not keep a good login out" {
	local i

	# All of them send theirs at the same moment.
	printf '#!/bin/sh\nuntil [ -e "%s" ]; do sleep 0.1; done; echo wrong\n' "$dir/go" >"$dir/askpass"
	chmod 755 "$dir/askpass"
	for ((i = 0; i < 20; i++)); do
		new_source
		client env SSH_ASKPASS="$dir/askpass" ssh -F "$work/ssh_config" -b "$source" demo </dev/null >/dev/null 2>&1 &
	done
	wait_for connected 20
	: >"$dir/go"
	echoes # the first try
	wait_for connected 0
}

@test "30 sessions, with and without a pty, exchange lines at once, and not one is lost" {
	masters 6
	talk_on 30
	wait_for serving 30
	stop_talking
}

# Return whether the process $1 sleeps, or waits for a disk.
sleeps() {
	[[ $(status_of "$1" State) == [SD] ]]
}

# Return whether the one program and its sshd wait for a client that does not read: both
# sleep, and nothing more comes to $1. (Who starves for a processor does not sleep.)
held_back() {
	local pid parent before

	pid=$(served)
	parent=$(status_of "$pid" PPid)
	before=$(stat -c %s "$1")
	for _ in 1 2 3; do
		sleeps "$pid" && sleeps "$parent" || return
		pause 50
	done
	[ "$before" = "$(stat -c %s "$1")" ] || return
	peak="$(status_of "$pid" VmHWM) $(status_of "$parent" VmHWM)"
}

bigger() {
	[ "$(stat -c %s "$1")" -gt "$2" ]
}

@test "a client that is stopped in the middle is held back, and gets every line when it goes on" {
	local kind ssh peak

	for kind in T tt; do
		mkfifo "$dir/answers.$kind" "$dir/zeros.$kind"
		cat <"$dir/answers.$kind" >"$dir/answered.$kind" 3>&- &
		exec 9<>"$dir/zeros.$kind"
		head -c 8000000 /dev/zero >&9 3>&- & # many times what can be through before it is stopped
		# Not straight: the command that enters the namespaces stops with its child.
		client sh -c 'exec 4<"$1/zeros.$2"
			ssh -"$2" -b "$3" -F "$0" demo <&4 & echo "$!" | tee "$1/ssh" >>"$1/clients"; wait' \
			"$work/ssh_config" "$dir" "$kind" 127.2.0.1 >"$dir/answers.$kind" 2>/dev/null 9>&- &
		wait_for bigger "$dir/answered.$kind" 1000000
		ssh=$(<"$dir/ssh")
		in_machine kill -STOP "$ssh"
		wait_for held_back "$dir/answered.$kind"
		echo "peak: $peak KiB"
		[ "${peak% *}" -lt 24000 ] && [ "${peak#* }" -lt 24000 ]
		refute bigger "$dir/answered.$kind" 31999999 # each \x00 is four
		in_machine kill -CONT "$ssh"
		wait_for bigger "$dir/answered.$kind" 31999999
		exec 9>&-
		end_test
		wait_for alone
		assert_equal 8000000 "$(tr -cd x <"$dir/answered.$kind" | wc -c)"
	done
}

# Put lines of settings in force, in place of those of before.
set_settings() {
	local text

	printf '%s\n' "$1" >"$root$settings/test.conf"
	slurp "$log"
	in_machine kill -HUP "$(server_pid)"
	wait_for listens_again "${#text}"
}

# Return whether the server has begun to listen after that many bytes of its log.
listens_again() {
	local text

	slurp "$log" && [[ ${text:$1} == *"Server listening on"* ]]
}

# Return whether no guest has a process, not even one of sshd.
nobody_home() {
	! grep -lsE "^Uid:.$(in_machine id -u _echo-shell)\b" "$proc"/[0-9]*/status
}

@test "a client that is cut off is gone with all its processes" {
	# After 6 to 12 s. With the 20 minutes that are usual the test would wait as long.
	set_settings "ClientAliveInterval 2
		ClientAliveCountMax 2"
	hold idle
	hold pty -tt demo
	there 'echo 8 >/sys/class/net/lo/flags' # a cable pulled: no FIN, no RST
	wait_for serving 0
	end_test
	wait_for nobody_home
	there 'echo 9 >/sys/class/net/lo/flags'
	set_settings ""
	echoes
}

@test "whatever of a session is killed, and at a reload, other sessions live on, new ones work, nothing is left" {
	local pid victim

	masters 1
	talk_on 4
	mkfifo "$dir/in"
	# Of one session each: the program; the sshd of the user; and root's sshd that
	# watches over that one, with which the session need not end before its client.
	for victim in program user root; do
		ssh_to -tt demo <>"$dir/in" >"$dir/out" 2>&1 &
		wait_for serving 5
		pid=$(served | sort -n | tail -n 1)
		[ "$victim" = program ] || pid=$(status_of "$pid" PPid)
		[ "$victim" != root ] || pid=$(status_of "$pid" PPid)
		in_machine kill -KILL "$pid"
		[ "$victim" != root ] || in_machine kill -KILL "$(tail -n 1 "$dir/clients")"
		wait_for serving 4
	done
	set_settings ""
	echoes
	# All that time, four sessions have exchanged lines.
	wait_for serving 4
	stop_talking
}
