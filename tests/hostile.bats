#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The server under load, and clients that do as they like or go away.

# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Have n sessions exchange lines until stop_talking: every other one with a pty, five to
# each of the masters $dir/m1, $dir/m2 and so on.
talk_on() {
	local i

	mkfifo "$dir/stop"
	exec 8<>"$dir/stop"
	for ((i = 0; i < $1; i++)); do
		client tests/talk "$([ $((i % 2)) = 0 ] && echo -u || echo -t)" keep \
			ssh "$([ $((i % 2)) = 0 ] && echo -T || echo -tt)" -F "$work/ssh_config" \
			-S "$dir/m$((i / 5 + 1))" demo <"$dir/stop" >"$dir/kept$i" 2>&1 &
		echo "$!" >>"$dir/talks"
	done
	for ((i = 0; i < $1; i++)); do
		wait_for grep -qx kept "$dir/kept$i"
	done
}

stop_talking() {
	local pid

	echo >"$dir/stop"
	while read -r pid; do
		wait "$pid"
	done <"$dir/talks"
	exec 8>&-
	same kept "$(cat "$dir"/kept* | sort -u)"
}

@test "60 sessions, with and without a pty, exchange lines at once, and not one is lost" {
	masters 12
	talk_on 60
	serving 60
	stop_talking
}

# Print how many connections the server has, logged in or not yet.
connections() {
	in_machine awk -v port="$(printf ':%04X$' "$port")" '$2 ~ port && $4 == "01" { n++ } END { print n + 0 }' /proc/net/tcp
}

at_most() {
	[ "$(connections)" -le "$1" ]
}

@test "500 connections that never log in do not keep a good login out" {
	client bash -c 'for ((i = 0; i < 500; i++)); do exec {fd}<>"/dev/tcp/127.0.0.1/$0"; done
		: >"$1/connected"; exec sleep 1000' "$port" "$dir" &
	wait_for [ -e "$dir/connected" ]
	# They have taken no more than what one address may.
	wait_for echoes
	wait_for at_most 50
	[ "$(connections)" -gt 20 ]
	end_test
	wait_for at_most 0
}

@test "wrong passwords, many at once, do not keep a good login out" {
	local i

	for ((i = 0; i < 40; i++)); do
		PASS=wrong ssh_to demo </dev/null >/dev/null 2>&1 &
	done
	wait_for echoes
	wait_for at_most 0
}

@test "a client that does not speak SSH is ended, and other sessions go on" {
	masters 1
	talk_on 2
	client bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"; head -c 100000 /dev/urandom >&3; cat <&3' "$port" >"$dir/out" 2>&1 || :
	# The second from 9.8 on, where 127.0.0.1 has opened other such connections before.
	tr -cd '[:print:]' <"$dir/out" | grep -E 'Invalid SSH identification string|Not allowed at this time'
	serving 2
	stop_talking
}

# Print a process's number by its name in /proc/PID/status.
status_of() {
	in_machine awk -v "name=$2:" '$1 == name { print $2 }' "/proc/$1/status"
}

# Return whether the one program has been waiting for half a second for someone to read,
# and neither it nor its sshd have grown.
held_back() {
	local pid before

	pid=$(served)
	before=$(in_machine cat "/proc/$pid/io")
	sleep 0.5
	[ "$before" = "$(in_machine cat "/proc/$pid/io")" ] || return
	echo "peak $(status_of "$pid" VmHWM) and $(status_of "$(status_of "$pid" PPid)" VmHWM) KiB"
	[ "$(status_of "$pid" VmHWM)" -lt 24000 ] && [ "$(status_of "$(status_of "$pid" PPid)" VmHWM)" -lt 24000 ]
}

# Return whether that many bytes of 0 were answered.
answered() {
	same "$1" "$(tr -cd x <"$2" | wc -c)"
}

# Return whether the one program has written a megabyte.
flows() {
	[ "$(in_machine awk '/^wchar/ { print $2 }' "/proc/$(served)/io")" -gt 1000000 ]
}

@test "a client that is stopped in the middle is held back, and gets every line when it goes on" {
	local kind ssh

	for kind in T tt; do
		mkfifo "$dir/answers.$kind"
		cat <"$dir/answers.$kind" >"$dir/answered.$kind" 3>&- &
		mkfifo "$dir/zeros.$kind"
		exec 9<>"$dir/zeros.$kind"
		head -c 8000000 /dev/zero >&9 3>&- & # many times what can be through before it is stopped
		# Not straight: the command that enters the namespaces stops with its child.
		client sh -c 'exec 4<"$1/zeros.$2"
			ssh -"$2" -b 127.1.2.3 -F "$0" demo <&4 & echo "$!" | tee "$1/ssh" >>"$1/clients"; wait' \
			"$work/ssh_config" "$dir" "$kind" >"$dir/answers.$kind" 2>/dev/null 9>&- &
		wait_for flows
		ssh=$(cat "$dir/ssh")
		in_machine kill -STOP "$ssh"
		wait_for held_back
		fails answered 8000000 "$dir/answered.$kind"
		in_machine kill -CONT "$ssh"
		wait_for answered 8000000 "$dir/answered.$kind"
		exec 9>&-
		end_test
		wait_for serving 0
	done
}

# Have the server read its configuration again: it then listens once more.
reload() {
	local before

	before=$(listened)
	in_machine kill -HUP "$(server_pid)"
	wait_for listened_since "$before"
}

listened() {
	in_machine grep -c 'listening on ::' /var/log/echo-shell.log
}

listened_since() {
	[ "$(listened)" -gt "$1" ]
}

# Return whether no guest has a process, be it sshd's.
nobody_home() {
	! there 'grep -lE "^Uid:.($(id -u _echo-shell))\b" /proc/[0-9]*/status' 2>/dev/null
}

@test "a client that is cut off is gone with all its processes, and an idle one stays" {
	in_machine sed -i.kept 's/^ClientAliveInterval.*/ClientAliveInterval 1/' "$base/now/sshd_config"
	reload
	hold idle
	hold pty -tt demo
	sleep 7 # idle for longer than the 3 to 6 s after which a client is gone
	serving 2
	there 'echo 8 >/sys/class/net/lo/flags' # a cable pulled: no FIN, no RST
	wait_for serving 0
	end_test
	wait_for nobody_home
	there 'echo 9 >/sys/class/net/lo/flags; mv "$0/sshd_config.kept" "$0/sshd_config"' "$base/now"
	reload
	echoes
}

@test "whatever of a session is killed, and at a reload, other sessions live on, new ones work, nothing is left" {
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
	reload
	echoes
	# All that time, four sessions have exchanged lines.
	serving 4
	stop_talking
	end_test
	wait_for nobody_home
	wait_for eval 'same 1 "$(there "cat /proc/[0-9]*/comm" | grep -c ^sshd)"'
}
