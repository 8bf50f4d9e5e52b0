#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions: the server as setup.sh makes it, and OpenSSH's clients.

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

# Talks to the server through ssh -tt on a pty by the table on stdin, which is
# sent once the program is in raw mode. Further arguments go to ssh.
on_a_pty() {
	local talk

	mkfifo "$dir/table"
	client tests/talk -p table -- ssh -tt -F "$work/ssh_config" "$@" demo <"$dir/table" >"$dir/talked" 2>&1 &
	talk=$!
	exec 9>"$dir/table"
	wait_for serving 1
	cat >&9
	exec 9>&-
	wait "$talk" || {
		cat "$dir/talked"
		return 1
	}
}

@test "with a pty, all 256 bytes come back one by one, and nothing else is printed" {
	in_machine sh -c 'echo MOTD >/etc/motd'
	head -n 256 "$top/tests/python2-repr.tsv" | on_a_pty
}

@test "with a pty, keys that are more than one byte and a long paste come back whole" {
	{
		printf '1b5b41\tany\nc3a9\tany\n'
		awk 'BEGIN { for (i = 0; i < 65537; i++) printf "%02x", i * 7 % 256; print "\tany" }'
	} | on_a_pty
}

@test "bytes that come early are exact where the client asks for raw modes" {
	mkfifo "$dir/table"
	# shellcheck disable=SC2016 # expanded by the inner shell
	client tests/talk -p table -- sh -c 'stty raw -echo; : >"$1/raw"; exec ssh -tt -F "$0" demo' \
		"$work/ssh_config" "$dir" <"$dir/table" >"$dir/talked" 2>&1 &
	exec 9>"$dir/table"
	wait_for [ -e "$dir/raw" ]
	awk 'BEGIN { for (i = 0; i < 256; i++) printf "%02x", i; print "\tany" }' >&9
	exec 9>&-
	wait "$!" || {
		cat "$dir/talked"
		return 1
	}
}

@test "Enter ~ . leaves, and no process stays" {
	printf "0d\t'\\\\r'\n7e\tend\n" | sed 's/^7e/7e2e/' | on_a_pty -e '~'
	wait_for serving 0
}

@test "without a pty, the bytes come back, and the end of input ends it with status 0" {
	printf 'a\r\n' | ssh_demo demo >"$dir/out" 2>"$dir/err"
	printf "echo: 'a\\\\r\\\\n'\r\n" | cmp - "$dir/out"
	same "" "$(cat "$dir/err")"
}

@test "without a pty, chunks of all sizes come back whole" {
	client tests/talk -u sizes -- ssh -F "$work/ssh_config" demo
	client tests/talk -u random -- ssh -F "$work/ssh_config" demo
}

@test "the banner tells how to leave, before the login" {
	PASSWORD=wrong run ssh_demo -o LogLevel=INFO demo
	has "$output" "To leave: Enter ~ ."
}

@test "a command, scp and sftp are refused with a reason" {
	run ssh_demo demo "ls; id"
	same "1 echo-shell: refused 'ls; id': this account only echoes; run ssh without a command" "$status $output"
	run ssh_demo -tt demo id
	same 1 "$status"
	has "$output" "echo-shell: refused 'id'"
	run client scp -F "$work/ssh_config" "$top/README" demo:/tmp/
	[ "$status" != 0 ]
	# The old protocol is a command; scp has had -O for it since it has another.
	old=$(scp -O 2>&1 | grep -q 'unknown option' || echo -O)
	# shellcheck disable=SC2086 # an option or none
	run client scp -F "$work/ssh_config" $old "$top/README" demo:/tmp/
	[ "$status" != 0 ]
	has "$output" "echo-shell: refused 'scp -t /tmp/'"
	run client sftp -F "$work/ssh_config" -b /dev/null demo
	[ "$status" != 0 ]
	run ssh_demo -s demo netconf
	[ "$status" != 0 ]
}

# Takes the options of a forwarding that the server is to set up.
forward() {
	client timeout 20 ssh -F "$work/ssh_config" -N -o ExitOnForwardFailure=yes "$@" demo
}

@test "forwarding is refused: TCP and sockets, both ways" {
	run ssh_demo -o LogLevel=INFO -W "127.0.0.1:$port" demo </dev/null
	same 255 "$status"
	has "$output" "channel 0: open failed: administratively prohibited"
	run forward -R "2999:127.0.0.1:$port"
	has "$output" "remote port forwarding failed for listen port 2999"
	run forward -R "$dir/socket:127.0.0.1:$port"
	has "$output" "remote port forwarding failed for listen path $dir/socket"
	[ ! -e "$dir/socket" ]

	ssh_demo -N -L 127.0.0.1:2999:/dev/log demo &
	wait_for in_machine bash -c 'exec 5<>/dev/tcp/127.0.0.1/2999; cat <&5'
	has "$(server_log)" "refused streamlocal port forward"
}

@test "agent, X11 and environment do not reach the program, which runs alone, as demo" {
	mkfifo "$dir/in"
	LD_PRELOAD_X=1 LANG=xx_XX.UTF-8 SSH_AUTH_SOCK=$dir/agent DISPLAY=:9 ssh_demo -A -X \
		-o SendEnv=LANG -o SendEnv=LD_PRELOAD -o SetEnv=LD_PRELOAD=/x demo <>"$dir/in" >"$dir/out" 2>&1 &
	wait_for serving 1
	pid=$(served)
	run in_machine cat "/proc/$pid/environ"
	has "$output" SSH_CONNECTION=
	run in_machine grep -zE '^(LANG|LD_|LC_|DISPLAY|SSH_AUTH_SOCK)' "/proc/$pid/environ"
	same "1 " "$status $output"
	# shellcheck disable=SC2016 # expanded in the machine
	same "$(in_machine id -u demo)" "$(in_machine awk '/^Uid:/ { print $2 }' "/proc/$pid/status")"
	same sshd "$(in_machine sh -c "cat /proc/\$(awk '/^PPid:/ { print \$2 }' /proc/$pid/status)/comm" | sed 's/sshd-session/sshd/')"
	# shellcheck disable=SC2016 # expanded in the machine
	same 1 "$(in_machine awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")"
}

@test "only the right password of a demo user opens it" {
	PASSWORD=wrong run ssh_demo demo
	has "$output" "Permission denied (password)."
	PASSWORD='' run ssh_demo demo
	has "$output" "Permission denied (password)."
	run ssh_demo -o PreferredAuthentications=publickey,keyboard-interactive,gssapi-with-mic,hostbased demo
	has "$output" "Permission denied (password)."
	in_machine useradd -M -d / -s /bin/sh "stranger$$"
	printf 'stranger%s:%s\n' "$$" "$PASSWORD" | in_machine chpasswd
	run ssh_demo "stranger$$@demo"
	in_machine userdel "stranger$$"
	has "$output" "Permission denied (password)."
	has "$(server_log)" "not allowed because none of user's groups are listed in AllowGroups"
}

@test "root is not let in, even with the right password" {
	[ -z "${TEST_HERE-}" ] || ROOT=$(getent shadow root | cut -d: -f2)
	printf 'root:%s\n' "$PASSWORD" | in_machine chpasswd
	run ssh_demo root@demo
	[ -z "${TEST_HERE-}" ] || usermod -p "$ROOT" root
	has "$output" "Permission denied (password)."
}

@test "what the server's configuration promises is in force" {
	in_machine sshd -T -f /etc/ssh/echo-shell/sshd_config | tr '[:upper:]' '[:lower:]' >"$dir/options"
	for option in "usepam no" "permitrootlogin no" "allowgroups echo-shell" "authenticationmethods password" \
		"permitemptypasswords no" "pubkeyauthentication no" "permittunnel no" \
		"kbdinteractiveauthentication no" "printmotd no" "printlastlog no" "compression no" "usedns no" \
		"logingracetime 30" "maxauthtries 3" "maxstartups 100:30:300" "maxsessions 10" \
		"clientaliveinterval 15" "clientalivecountmax 2" "loglevel verbose" "banner /etc/ssh/echo-shell/banner"; do
		grep -qx "$option" "$dir/options" || has "$(cat "$dir/options")" "$option"
	done
	! grep -q ^persourcemaxstartups "$dir/options" || grep -qx "persourcemaxstartups 50" "$dir/options"
	fails grep sntrup "$dir/options"
	# 10.6 shows no line for a global "AuthorizedKeysFile none".
	fails grep -E '^(subsystem|acceptenv|setenv|authorizedkeysfile .*/)' "$dir/options"
}

@test "several sessions over one connection each get their own echo" {
	ssh_demo -M -S "$dir/control" -N demo 3>&- &
	wait_for [ -S "$dir/control" ]
	for i in 1 2 3; do
		mkfifo "$dir/in$i"
		ssh_demo -S "$dir/control" demo <>"$dir/in$i" >"$dir/out$i" &
	done
	wait_for serving 3
	for i in 1 2 3; do printf %s "$i" >"$dir/in$i"; done
	for i in 1 2 3; do
		wait_for [ -s "$dir/out$i" ]
		same "echo: '$i'"$'\r' "$(cat "$dir/out$i")"
	done
	ssh_demo -q -S "$dir/control" -O exit demo
	wait_for serving 0
}

@test "a client that is killed leaves no process of its account behind" {
	mkfifo "$dir/in"
	ssh_demo demo <>"$dir/in" &
	ssh_demo -tt demo <>"$dir/in" &
	wait_for serving 2
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'kill -KILL $(grep -lx ssh /proc/[0-9]*/comm | cut -d/ -f3)'
	wait_for nobody_home
}
