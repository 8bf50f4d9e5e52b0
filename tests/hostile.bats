#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The server under load, and clients that do as they like or go away.

# shellcheck disable=SC2016 # for awk and for inner shells
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

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
	[ -z "$no_machine" ] || return 0
	show_log
	end_clients
}

@test "what a demo user may not have is refused, however it is asked for, and sessions go on" {
	masters 1
	in_machine tests/channels refused "$dir/m1"
	wait_for serving 0
}

@test "a connection that breaks the protocol is ended, and no other" {
	local way=0 i

	masters 1
	mkfifo "$dir/in"
	in_machine tests/channels load both 2 10 "$dir/m1" <>"$dir/in" >"$dir/out" 2>&1 &
	wait_for [ -s "$dir/out" ]
	for i in 2 3 4 5 6 7; do
		masters "$i" "$i"
		status=0
		in_machine tests/channels broken "$way" "$dir/m$i" || status=$?
		[ "$status" = 0 ] || break
		way=$((way + 1))
	done
	same "3 5" "$status $way"
	wait_for serving 2
}

@test "200 sessions, with and without a pty, exchange lines at once, and not one is lost" {
	masters 1 20
	mkfifo "$dir/in"
	in_machine tests/channels load both 10 50 "$dir"/m* <>"$dir/in" >"$dir/out" 2>&1 &
	wait_for [ -s "$dir/out" ]
	has "$(cat "$dir/out")" "200 sessions, 20 connections, 50 lines each"
	serving 200
	end_clients
	wait_for serving 0
}

# Prints how many connections the server has, logged in or not yet.
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
	good_login 30 # LoginGraceTime
	# Where sshd knows a limit by address, they have taken no more than that.
	! in_machine sshd -T | grep -qi ^persourcemaxstartups || wait_for at_most 50
	[ "$(connections)" -gt 20 ]
	end_clients
	wait_for at_most 0
}

@test "wrong passwords, many at once, do not keep a good login out" {
	local i

	for ((i = 0; i < 40; i++)); do
		PASSWORD=wrong ssh_demo demo </dev/null >/dev/null 2>&1 &
	done
	good_login 30 # LoginGraceTime
	wait_for at_most 0
}

# Takes a process and a name in its status; prints the value.
status_of() {
	in_machine awk -v "name=$2:" '$1 == name { print $2 }' "/proc/$1/status"
}

# Prints the most that any session's sshd or program has had in memory, in KiB.
peak() {
	local pid

	for pid in $(served); do
		status_of "$pid" VmHWM
		status_of "$(status_of "$pid" PPid)" VmHWM
	done | sort -n | tail -n 1
}

@test "a client that sends and does not read is held back, and gets every line once it reads" {
	local kind

	masters 1 2
	for kind in pty pipe; do
		mkfifo "$dir/$kind"
		in_machine tests/channels flood "$kind" 6000000 "$dir/m$((${#kind} - 2))" <"$dir/$kind" >"$dir/$kind.out" 2>&1 &
		exec 9>"$dir/$kind"
		wait_for [ -s "$dir/$kind.out" ]
		cat "$dir/$kind.out"
		echo "peak $(peak) KiB"
		[ "$(peak)" -lt 24000 ]
		exec 9>&-
		wait "$!"
	done
}

@test "a client that is stopped in the middle is held back, and gets every line when it goes on" {
	# From an address without a penalty. Not straight: the command that enters the namespaces stops with its child.
	head -c 6000000 /dev/zero | client sh -c 'exec 4<&0; ssh -b 127.1.2.3 -F "$0" demo <&4 & wait "$!"' \
		"$work/ssh_config" >"$dir/out" &
	wait_for [ -s "$dir/out" ]
	in_machine sh -c 'kill -STOP $(grep -lx ssh /proc/[0-9]*/comm | cut -d/ -f3)'
	wait_for held_back
	echo "peak $(peak) KiB"
	[ "$(peak)" -lt 24000 ]
	in_machine sh -c 'kill -CONT $(grep -lx ssh /proc/[0-9]*/comm | cut -d/ -f3)'
	wait "$!"
	same $((6000000 * 4)) "$(sed "s/^echo: '\(.*\)'.\$/\1/" "$dir/out" | tr -d '\n' | wc -c)"
}

# Whether the one program has been waiting for a second for someone to read.
held_back() {
	local before after pid

	pid=$(served)
	before=$(in_machine awk '/^wchar/ { print $2 }' "/proc/$pid/io")
	sleep 1
	after=$(in_machine awk '/^wchar/ { print $2 }' "/proc/$pid/io")
	[ "$before" = "$after" ]
}

# Has the server read its configuration again; it writes its pid when it listens.
reload() {
	in_machine sh -c 'read -r pid </run/echo-shell.pid && rm /run/echo-shell.pid && kill -HUP "$pid"'
	wait_for in_machine test -s /run/echo-shell.pid
}

listens() {
	in_machine grep -q "$(printf ':%04X .* 0A ' "$port")" /proc/net/tcp
}

@test "a client that is cut off is gone with all its processes, an idle one stays, ssh -N does not" {
	[ -z "${TEST_HERE-}" ] || skip "takes the network down: only in namespaces"
	in_machine sed -i.kept 's/^ClientAliveInterval 15/ClientAliveInterval 1/' /etc/ssh/echo-shell/sshd_config
	in_machine sed -i.kept 's/UnusedConnectionTimeout 60/UnusedConnectionTimeout 2/' /etc/ssh/echo-shell/echo-shell.conf
	reload
	mkfifo "$dir/in"
	ssh_demo demo <>"$dir/in" >"$dir/out" 2>&1 &
	ssh_demo -tt demo <>"$dir/in" >/dev/null 2>&1 &
	wait_for serving 2
	ssh_demo -N demo >"$dir/unused" 2>&1 &
	sleep 7 # idle for longer than the 3 to 6 s after which a client is gone
	serving 2
	! in_machine sshd -T | grep -qi ^unusedconnectiontimeout || wait_for fails kill -0 "$!"
	in_machine sh -c 'echo 8 >/sys/class/net/lo/flags' # a cable pulled: no FIN, no RST
	wait_for serving 0
	end_clients
	wait_for nobody_home
	in_machine sh -c 'echo 9 >/sys/class/net/lo/flags
		cd /etc/ssh/echo-shell && for file in *.kept; do mv "$file" "${file%.kept}"; done'
	reload
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
}

# Prints the pid of the program that started last.
newest() {
	served | sort -n | tail -n 1
}

@test "whatever is killed or restarted, other sessions live on, new ones work, nothing is left" {
	[ -z "${TEST_HERE-}" ] || skip "kills the server: only in namespaces"
	masters 1
	mkfifo "$dir/in"
	in_machine tests/channels load both 4 1000000000 "$dir/m1" <>"$dir/in" >"$dir/load" 2>&1 &
	load=$!
	wait_for serving 4

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
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
	in_machine kill -KILL "$(in_machine cat /run/echo-shell.pid)"
	wait_for fails listens
	in_machine ./setup.sh
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"

	# All that time, four sessions have exchanged lines, and it says of any fault.
	serving 4
	kill -0 "$load"
	same "" "$(cat "$dir/load")"
	end_clients
	wait_for nobody_home
	wait_for eval 'same 1 "$(in_machine sh -c "cat /proc/[0-9]*/comm" | grep -c ^sshd)"'
}
