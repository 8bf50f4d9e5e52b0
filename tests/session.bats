#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions: what OpenSSH's clients get, from the server as setup.sh makes it.

# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Send the table on stdin through ssh -tt on a pty, once the session serves and ssh has set
# that pty raw. Further arguments go to ssh.
on_a_pty() {
	new_source
	talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" -b "$source" "${@:-demo}"
}

@test "with a pty, keys of several bytes and a long paste come back whole, and nothing else is printed" {
	there 'echo MOTD >/etc/motd'
	{
		printf '1b5b41\tany\nc3a9\tany\n'
		awk 'BEGIN { for (i = 0; i < 65537; i++) printf "%02x", i * 7 % 256; print "\tany" }'
	} | on_a_pty
}

@test "with a pty, all 256 bytes come back one by one, whatever modes the client's terminal has" {
	new_source
	head -n 256 "$top/tests/python2-repr.tsv" |
		talk_when serving 1 -- client tests/talk -p table sh -c 'stty sane iuclc parmrk istrip inlcr igncr \
			ixon ixoff ixany imaxbel inpck olcuc onlret ocrnl extproc echonl noflsh tostop echoctl &&
			exec ssh -tt -F "$0" -b "$1" demo' "$work/ssh_config" "$source"
}

@test "bytes that are sent as soon as the session is there are exact, whatever they are" {
	local i j fd bytes=('\r' '\x03' '\x04' '\x1a' '\x7f' '\x11\x13')

	# Six at once, whose input is there before they begin, and again. Without raw-pty.so
	# 117 of 120 were wrong.
	for i in 1 2; do
		for ((j = 0; j < 6; j++)); do
			mkfifo "$dir/early.$i.$j"
			exec {fd}<>"$dir/early.$i.$j"
			printf '%b' "${bytes[j]}" >&"$fd"
			ssh_to -tt demo <&"$fd" >"$dir/came.$i.$j" 2>&1 &
			exec {fd}>&-
		done
		for ((j = 0; j < 6; j++)); do
			wait_for [ -s "$dir/came.$i.$j" ]
			assert_equal "$(answer "'${bytes[j]}'")" "$(<"$dir/came.$i.$j")"
		done
		end_test
	done
}

@test "Enter ~ . leaves, and no process stays" {
	printf "0d\t'\\\\r'\n7e2e\tend\n" | on_a_pty -e '~' demo
	wait_for serving 0
}

@test "ssh itself holds back ~ after Enter, and sends everything with -e none" {
	printf "0d\t'\\\\r'\n7e61\t'~a'\n0d\t'\\\\r'\n7e7e\t'~'\n" | on_a_pty -e '~' demo
	wait_for serving 0
	printf "0d\t'\\\\r'\n7e\t'~'\n2e\t'.'\n" | on_a_pty -e none demo
}

@test "without a pty, chunks of all sizes come back whole, and the end of input ends it with status 0" {
	printf 'a\r\n' | ssh_to demo >"$dir/out" 2>"$dir/err"
	echo "$(answer "'a\\r\\n'")" | cmp - "$dir/out"
	assert_equal "" "$(<"$dir/err")"
	for mode in sizes random; do
		client tests/talk -u "$mode" ssh -F "$work/ssh_config" demo
	done
}

@test "a command, scp, sftp and subsystems are refused with a reason, and sessions go on" {
	hold pty -tt demo
	run ssh_to demo "ls; id"
	assert_equal "1 echo-shell: refused 'ls; id': this account only echoes; run ssh without a command" "$status $output"
	run ssh_to -tt demo id
	assert_equal "1 echo-shell: refused 'id': this account only echoes; run ssh without a command" "$status ${output%$'\r'*}"
	run client scp -F "$work/ssh_config" "$top/README" demo:/tmp/
	[ "$status" != 0 ]
	# The old protocol is a command; scp has had -O for it since it has another.
	old=$(scp -O 2>&1 | grep -q 'unknown option' || echo -O)
	# shellcheck disable=SC2086 # an option or none
	run client scp -F "$work/ssh_config" $old "$top/README" demo:/tmp/
	[ "$status" != 0 ]
	assert_contains "$output" "echo-shell: refused 'scp -t /tmp/'"
	run client sftp -F "$work/ssh_config" -b /dev/null demo
	[ "$status" != 0 ]
	run ssh_to -s demo netconf
	[ "$status" != 0 ]
	held pty
}

# Ask for a forwarding that the server is to set up. Arguments go to ssh.
forward() {
	client timeout "$LIMIT" ssh -F "$work/ssh_config" -N -o ExitOnForwardFailure=yes "$@" demo
}

@test "forwarding is refused: TCP and sockets, both ways" {
	run ssh_to -o LogLevel=INFO -W "127.0.0.1:$port" demo </dev/null
	assert_equal 255 "$status"
	assert_contains "$output" "channel 0: open failed: administratively prohibited"
	run forward -R "2999:127.0.0.1:$port"
	assert_contains "$output" "remote port forwarding failed for listen port 2999"
	run forward -R "$dir/socket:127.0.0.1:$port"
	assert_contains "$output" "remote port forwarding failed for listen path $dir/socket"
	[ ! -e "$dir/socket" ]
	ssh_to -N -L 127.0.0.1:2999:/dev/log demo &
	wait_for listening 2999
	in_machine bash -c 'exec 5<>/dev/tcp/127.0.0.1/2999; cat <&5'
	wait_for holds "$log" "refused streamlocal port forward"
}

@test "agent, X11, environment and preload do not reach the program, which runs alone, as a guest" {
	LANG=xx_XX.UTF-8 SSH_AUTH_SOCK=$dir/agent DISPLAY=:9 hold alone -A -X \
		-o SendEnv=LANG -o SetEnv=LD_PRELOAD=/x demo
	pid=$(served)
	tr '\0' '\n' <"$proc/$pid/environ" >"$dir/environ"
	grep -q '^SSH_CONNECTION=' "$dir/environ"
	refute grep -E '^(LANG|LD_|LC_|MALLOC|DISPLAY|SSH_AUTH_SOCK)' "$dir/environ"
	refute grep raw-pty "$proc/$pid/maps"
	assert_equal "$(in_machine id -u _echo-shell)" "$(status_of "$pid" Uid)"
	assert_equal sshd "$(sed 's/sshd-session/sshd/' "$proc/$(status_of "$pid" PPid)/comm")"
	assert_equal 1 "$(status_of "$pid" NoNewPrivs)"
	assert_equal 0 "$(stat -c %u "$proc/$pid/mem")" # root's: other sessions cannot open it
}

@test "only the right password of a guest opens it; before, the banner tells how to leave" {
	PASS=wrong denied -o LogLevel=INFO demo
	assert_contains "$output" "To leave, close your client (ssh: Enter ~ .)"
	PASS='' denied demo
	denied -o PreferredAuthentications=publickey,keyboard-interactive,gssapi-with-mic,hostbased demo
	assert_contains "$output" "Permission denied (password)."
	# Neither root nor any other account of the machine is known.
	in_machine useradd -M -d / -s /bin/sh stranger
	printf '%s\n' "root:$PASS" "stranger:$PASS" | in_machine chpasswd
	for user in root stranger; do
		denied "$user@demo"
		holds "$log" "Invalid user $user" || holds "$log" "User $user from 127.1."
	done
	in_machine userdel stranger
}

@test "a client that knows only one kind of host key connects: ed25519, ecdsa or rsa" {
	for kind in ssh-ed25519 ecdsa-sha2-nistp256 rsa-sha2-256; do
		echoes -o HostKeyAlgorithms="$kind" demo
	done
}

@test "three attempts that fail, as those of clients that try their keys first, do not use up a password's" {
	# OpenSSH's own client offers no key where none is asked for: it tries passwords.
	printf '#!/bin/sh\necho >>"%s"; [ "$(wc -l <"%s")" = 4 ] && echo "$PASS" || echo wrong\n' "$dir/tries" "$dir/tries" >"$dir/askpass"
	chmod 755 "$dir/askpass"
	new_source
	assert_equal "$(answer "'hi'")" "$(printf hi | client env SSH_ASKPASS="$dir/askpass" \
		ssh -F "$work/ssh_config" -b "$source" -o NumberOfPasswordPrompts=4 demo)"
}

@test "what the server's configuration promises is in force, and the rest is as OpenSSH has it" {
	local stock='^(logingracetime|maxauthtries|compression|kexalgorithms|ciphers|macs|hostkeyalgorithms) '

	there 'sshd -T -f "$0/sshd_config"' "$lib" | tr '[:upper:]' '[:lower:]' >"$dir/options"
	lines_in "$dir/options" "usepam no" "permitrootlogin no" "allowgroups _echo-shell" "authenticationmethods password" \
		"forcecommand exec /usr/local/bin/echo-shell" "disableforwarding yes" "permituserrc no" \
		"permitemptypasswords no" "pubkeyauthentication no" "permittunnel no" \
		"kbdinteractiveauthentication no" "printmotd no" "printlastlog no" "usedns no" \
		"maxstartups 100:30:300" "persourcemaxstartups 50" "maxsessions 5" \
		"clientaliveinterval 300" "clientalivecountmax 3" "loglevel verbose" "banner $lib/banner" \
		"hostkey $state/ssh_host_ed25519_key" "hostkey $state/ssh_host_ecdsa_key" "hostkey $state/ssh_host_rsa_key"
	# 10.6 shows no line for a global "AuthorizedKeysFile none".
	refute grep -E '^(subsystem|acceptenv|setenv|authorizedkeysfile .*/)' "$dir/options"
	there 'sshd -T -f /dev/null -h "$0/ssh_host_ed25519_key"' "$state" | tr '[:upper:]' '[:lower:]' >"$dir/defaults"
	assert_equal "$(grep -E "$stock" "$dir/defaults")" "$(grep -E "$stock" "$dir/options")"
}

@test "five sessions over one connection each get their own echo, a sixth is refused" {
	masters 1
	for i in 1 2 3 4 5; do
		hold "$i" -S "$dir/m1" demo
	done
	PASS=wrong denied -S "$dir/m1" demo # ssh then tries a connection of its own
	holds "$log" "no more sessions"
	for i in 1 2 3 4 5; do
		held "$i"
	done
}
