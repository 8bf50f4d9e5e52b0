#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions: the server as setup.sh makes it, and OpenSSH's clients.

each=session
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

# Talk to the server through ssh -tt on a pty by the table on stdin, in raw mode. Further
# arguments go to ssh.
on_a_pty() {
	talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" "$@" demo
}

@test "with a pty, all 256 bytes come back one by one, and nothing else is printed" {
	there 'echo MOTD >/etc/motd'
	head -n 256 "$top/tests/python2-repr.tsv" | on_a_pty
}

@test "with a pty, keys that are more than one byte and a long paste come back whole" {
	{
		printf '1b5b41\tany\nc3a9\tany\n'
		awk 'BEGIN { for (i = 0; i < 65537; i++) printf "%02x", i * 7 % 256; print "\tany" }'
	} | on_a_pty
}

@test "with every mode of a terminal on that a client may ask for, all bytes come back" {
	{
		head -n 256 "$top/tests/python2-repr.tsv"
		printf 'c3a9ff41\tany\n'
	} | talk_when serving 1 -- client tests/talk -p table sh -c 'stty sane iuclc parmrk istrip inlcr igncr \
			ixon ixoff ixany imaxbel inpck olcuc onlret ocrnl extproc echonl noflsh tostop echoctl &&
			exec ssh -tt -F "$0" demo' "$work/ssh_config"
}

@test "bytes that come early are exact where the client asks for raw modes" {
	awk 'BEGIN { for (i = 0; i < 256; i++) printf "%02x", i; print "\tany" }' |
		talk_when [ -e "$dir/raw" ] -- client tests/talk -p table \
			sh -c 'stty raw -echo; : >"$1/raw"; exec ssh -tt -F "$0" demo' "$work/ssh_config" "$dir"
}

@test "Enter ~ . leaves, and no process stays" {
	printf "0d\t'\\\\r'\n7e2e\tend\n" | on_a_pty -e '~'
	wait_for serving 0
}

@test "ssh itself holds back ~ after Enter, and sends everything with -e none" {
	printf "0d\t'\\\\r'\n7e61\t'~a'\n0d\t'\\\\r'\n7e7e\t'~'\n" | on_a_pty -e '~'
	printf "0d\t'\\\\r'\n7e\t'~'\n2e\t'.'\n" | on_a_pty -e none
}

@test "without a pty, the bytes come back, and the end of input ends it with status 0" {
	printf 'a\r\n' | ssh_demo demo >"$dir/out" 2>"$dir/err"
	echo "$(answer "'a\\r\\n'")" | cmp - "$dir/out"
	same "" "$(cat "$dir/err")"
}

@test "without a pty, chunks of all sizes come back whole" {
	client tests/talk -u sizes ssh -F "$work/ssh_config" demo
	client tests/talk -u random ssh -F "$work/ssh_config" demo
}

@test "a command, scp, sftp and subsystems are refused with a reason, and sessions go on" {
	mkfifo "$dir/in"
	ssh_demo -tt demo <>"$dir/in" >"$dir/out" 2>&1 &
	wait_for serving 1
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
	printf k >"$dir/in"
	wait_for grep -F "$prefix'k'" "$dir/out"
}

# Take the options of a forwarding that the server is to set up.
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
	same "$(in_machine id -u demo)" "$(in_machine awk '/^Uid:/ { print $2 }' "/proc/$pid/status")"
	same sshd "$(there 'cat "/proc/$(awk "/^PPid:/ { print \$2 }" "/proc/$0/status")/comm"' "$pid" | sed 's/sshd-session/sshd/')"
	same 1 "$(in_machine awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")"
	same 0 "$(in_machine stat -c %u "/proc/$pid/mem")" # root's: other sessions cannot open it
}

@test "only the right password of a demo user opens it; before, the banner tells how to leave" {
	PASS=wrong denied -o LogLevel=INFO demo
	has "$output" "To leave: Enter ~ ."
	PASS='' denied
	denied -o PreferredAuthentications=publickey,keyboard-interactive,gssapi-with-mic,hostbased demo
	has "$output" "Permission denied (password)."
	in_machine useradd -M -d / -s /bin/sh "stranger$$"
	printf 'stranger%s:%s\n' "$$" "$PASS" | in_machine chpasswd
	denied "stranger$$@demo"
	in_machine userdel "stranger$$"
	has "$(server_log)" "not allowed because none of user's groups are listed in AllowGroups"
}

@test "root is not let in, even with the right password" {
	[ -z "${TEST_HERE-}" ] || ROOT=$(getent shadow root | cut -d: -f2)
	printf 'root:%s\n' "$PASS" | in_machine chpasswd
	run ssh_demo root@demo
	[ -z "${TEST_HERE-}" ] || usermod -p "$ROOT" root
	has "$output" "Permission denied (password)."
}

@test "what the server's configuration promises is in force" {
	in_machine sshd -T -f "$own/sshd_config" -C user=demo,host=localhost,addr=127.0.0.1 | tr '[:upper:]' '[:lower:]' >"$dir/options"
	lines_in "$dir/options" "usepam no" "permitrootlogin no" "allowgroups echo-shell" "authenticationmethods password" \
		"permitemptypasswords no" "pubkeyauthentication no" "permittunnel no" \
		"kbdinteractiveauthentication no" "printmotd no" "printlastlog no" "compression no" "usedns no" \
		"logingracetime 30" "maxauthtries 3" "maxstartups 100:30:300" "maxsessions 5" \
		"clientaliveinterval 15" "clientalivecountmax 2" "loglevel verbose" "banner $own/banner"
	! grep -q ^persourcemaxstartups "$dir/options" || grep -qx "persourcemaxstartups 50" "$dir/options"
	# 10.6 shows no line for a global "AuthorizedKeysFile none".
	fails grep -E '^(subsystem|acceptenv|setenv|authorizedkeysfile .*/)' "$dir/options"
	# The cryptography is sshd's own choice.
	in_machine sshd -T -f /dev/null -h "$own/ssh_host_key" | tr '[:upper:]' '[:lower:]' |
		grep -E '^(kexalgorithms|ciphers|macs|hostkeyalgorithms) ' >"$dir/defaults"
	grep -E '^(kexalgorithms|ciphers|macs|hostkeyalgorithms) ' "$dir/options" | cmp - "$dir/defaults"
}

@test "five sessions over one connection each get their own echo, a sixth is refused" {
	masters 1
	for i in 1 2 3 4 5; do
		mkfifo "$dir/in$i"
		ssh_demo -S "$dir/m1" demo <>"$dir/in$i" >"$dir/out$i" &
	done
	wait_for serving 5
	PASS=wrong denied -S "$dir/m1" demo # ssh then tries a connection of its own
	has "$(server_log)" "no more sessions"
	for i in 1 2 3 4 5; do printf %s "$i" >"$dir/in$i"; done
	for i in 1 2 3 4 5; do
		wait_for [ -s "$dir/out$i" ]
		same "$(answer "'$i'")" "$(cat "$dir/out$i")"
	done
	ssh_demo -q -S "$dir/m1" -O exit demo
	wait_for serving 0
}
