#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The server under load, and clients that do as they like or go away.

each=session
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

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

@test "100 sessions, with and without a pty, exchange lines at once, and not one is lost" {
	masters 20
	talk_on 100
	serving 100
	stop_talking
}

# Print how many connections the server has, logged in or not yet.
connections() {
	in_machine awk -v port="$(printf ':%04X$' "$port")" '$2 ~ port && $4 == "01" { n++ } END { print n + 0 }' /proc/net/tcp
}

at_most() {
	[ "$(connections)" -le "$1" ]
}

# Log in, again and again for so many seconds, until it succeeds.
good_login() {
	local begun=$SECONDS

	until echoes; do
		[ $((SECONDS - begun)) -lt "$1" ] || return
		sleep 0.5
	done
}

@test "500 connections that never log in do not keep a good login out" {
	client bash -c 'for ((i = 0; i < 500; i++)); do exec {fd}<>"/dev/tcp/127.0.0.1/$0"; done
		: >"$1/connected"; exec sleep 1000' "$port" "$dir" &
	wait_for [ -e "$dir/connected" ]
	# Where sshd knows a limit by address, they have taken no more than that, and the login
	# need not wait until they are ended, after the LoginGraceTime of 30 s.
	if in_machine sshd -T | grep -qi ^persourcemaxstartups; then
		good_login 15
		wait_for at_most 50
	else
		good_login 30
	fi
	[ "$(connections)" -gt 20 ]
	end_test
	wait_for at_most 0
}

@test "wrong passwords, many at once, do not keep a good login out" {
	local i

	for ((i = 0; i < 40; i++)); do
		PASS=wrong ssh_demo demo </dev/null >/dev/null 2>&1 &
	done
	good_login 30
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

# Return whether the one program has been waiting for a second for someone to read, and
# neither it nor its sshd have grown.
held_back() {
	local pid before

	pid=$(served)
	before=$(in_machine cat "/proc/$pid/io")
	sleep 1
	[ "$before" = "$(in_machine cat "/proc/$pid/io")" ] || return
	echo "peak $(status_of "$pid" VmHWM) and $(status_of "$(status_of "$pid" PPid)" VmHWM) KiB"
	[ "$(status_of "$pid" VmHWM)" -lt 24000 ] && [ "$(status_of "$(status_of "$pid" PPid)" VmHWM)" -lt 24000 ]
}

@test "a client that sends and does not read is held back, and gets every line once it reads" {
	local kind

	for kind in T tt; do
		mkfifo "$dir/zeros.$kind" "$dir/answers.$kind" "$dir/go.$kind"
		exec 7<>"$dir/go.$kind"
		{ read -r -u 7; tr -cd x | wc -c; } <"$dir/answers.$kind" >"$dir/answered.$kind" 3>&- &
		ssh_demo -"$kind" demo <"$dir/zeros.$kind" >"$dir/answers.$kind" 2>/dev/null &
		exec 9>"$dir/zeros.$kind"
		wait_for serving 1 # in raw mode
		head -c 6000000 /dev/zero >&9 3>&- 7>&- &
		wait_for held_back
		echo >&7
		wait "$!"
		exec 9>&-
		# With a terminal, nothing tells the server that this was all: it waits for more.
		[ "$kind" = T ] || wait_for idle
		[ "$kind" = T ] || in_machine kill "$(tail -n 1 "$dir/clients")"
		wait_for [ -s "$dir/answered.$kind" ]
		same 6000000 "$(tr -d ' ' <"$dir/answered.$kind")"
		wait_for serving 0
	done
}

# Return whether the one program has read all and waits for more.
idle() {
	in_machine grep -q "^0 " "/proc/$(served)/syscall" && sleep 0.5 && in_machine grep -q "^0 " "/proc/$(served)/syscall"
}

# Print the pid of the program that started last.
newest() {
	served | sort -n | tail -n 1
}

# Have the server read its configuration again; wait for the pid that it writes then.
reload() {
	there 'read -r pid </run/echo-shell.pid && rm /run/echo-shell.pid && kill -HUP "$pid"'
	wait_for in_machine test -s /run/echo-shell.pid
}

# Return whether the one program has written a megabyte.
flows() {
	[ "$(in_machine awk '/^wchar/ { print $2 }' "/proc/$(served)/io")" -gt 1000000 ]
}

@test "a client that is stopped in the middle is held back, and gets every line when it goes on" {
	local ssh

	mkfifo "$dir/answers"
	tr -cd x <"$dir/answers" | wc -c >"$dir/answered" 3>&- &
	# Many times what can be through before it is stopped.
	# Not straight: the command that enters the namespaces stops with its child.
	head -c 60000000 /dev/zero | client sh -c 'exec 4<&0; ssh -b 127.1.2.3 -F "$0" demo <&4 & echo "$!" >"$1/ssh"; wait' \
		"$work/ssh_config" "$dir" >"$dir/answers" &
	wait_for flows
	ssh=$(cat "$dir/ssh")
	in_machine kill -STOP "$ssh"
	wait_for held_back
	in_machine kill -CONT "$ssh"
	wait_for [ -s "$dir/answered" ]
	same 60000000 "$(tr -d ' ' <"$dir/answered")"
}

@test "a client that is cut off is gone with all its processes, an idle one stays, ssh -N does not" {
	need_machine "takes the network down"
	in_machine tee "$admin" <<<"ClientAliveInterval 1"
	in_machine sed -i.kept 's/UnusedConnectionTimeout 60/UnusedConnectionTimeout 2/' "$own/echo-shell.conf"
	reload
	mkfifo "$dir/in"
	ssh_demo demo <>"$dir/in" >"$dir/out" 2>&1 &
	ssh_demo -tt demo <>"$dir/in" >/dev/null 2>&1 &
	wait_for serving 2
	ssh_demo -N demo >"$dir/unused" 2>&1 &
	sleep 7 # idle for longer than the 3 to 6 s after which a client is gone
	serving 2
	! in_machine sshd -T | grep -qi ^unusedconnectiontimeout || wait_for fails kill -0 "$!"
	there 'echo 8 >/sys/class/net/lo/flags' # a cable pulled: no FIN, no RST
	wait_for serving 0
	end_test
	wait_for nobody_home
	there 'echo 9 >/sys/class/net/lo/flags; rm "$1"; mv "$0/echo-shell.conf.kept" "$0/echo-shell.conf"' "$own" "$admin"
	reload
	echoes
}

@test "whatever is killed or restarted, clients too, other sessions live on, new ones work, nothing is left" {
	need_machine "kills the server"
	masters 1
	talk_on 4
	mkfifo "$dir/in"
	# Of one session each: the program; the sshd of the user; and root's sshd that
	# watches over that one, with which the session need not end before its client.
	for victim in program user root; do
		ssh_demo -tt demo <>"$dir/in" >"$dir/out" 2>&1 &
		wait_for serving 5
		pid=$(newest)
		[ "$victim" = program ] || pid=$(status_of "$pid" PPid)
		[ "$victim" != root ] || pid=$(status_of "$pid" PPid)
		in_machine kill -KILL "$pid"
		[ "$victim" != root ] || in_machine kill -KILL "$(tail -n 1 "$dir/clients")"
		wait_for serving 4
	done
	reload
	echoes
	in_machine kill -KILL "$(in_machine cat /run/echo-shell.pid)"
	wait_for fails in_machine grep -q "$(printf ':%04X .* 0A ' "$port")" /proc/net/tcp
	setup_sh
	echoes
	# All that time, four sessions have exchanged lines.
	serving 4
	stop_talking
	end_test
	wait_for nobody_home
	wait_for eval 'same 1 "$(there "cat /proc/[0-9]*/comm" | grep -c ^sshd)"'
}
