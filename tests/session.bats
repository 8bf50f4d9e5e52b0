#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions: what OpenSSH's clients get, from the server as setup.sh makes it.

# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Talk through ssh -tt on a pty by the table on stdin, in raw mode. Further arguments go to
# ssh.
on_a_pty() {
	talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" "$@" pipe
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
			exec ssh -tt -F "$0" pipe' "$work/ssh_config"
}

# Start ssh -tt many times, six at a time, with bytes as its input that are there before it
# begins; see that their answer is all that comes. It runs inside the machine.
early() {
	local i j fd pids bytes=('\r' '\x03' '\x04' '\x1a' '\x7f' '\x11\x13')

	for ((i = 1; i <= 17; i++)); do
		pids=()
		for ((j = 0; j < 6; j++)); do
			: >"$2/came.$j"
			exec {fd}<>"$2/early.$j"
			printf '%b' "${bytes[j]}" >&"$fd"
			ssh -tt -F "$1" -b "127.9.$i.$((j + 1))" demo <&"$fd" >"$2/came.$j" 2>&1 &
			pids+=($!)
			exec {fd}>&-
		done
		for ((j = 0; j < 6; j++)); do
			wait_for [ -s "$2/came.$j" ]
			same "$(answer "'${bytes[j]}'")" "$(<"$2/came.$j")" || return
			kill "${pids[j]}"
		done
	done
}

@test "bytes that are sent as soon as the session is there are exact, whatever they are" {
	mkfifo "$dir"/early.{0,1,2,3,4,5}
	client bash -c "$(declare -f early wait_for same answer); early \"\$@\"" bash "$work/ssh_config" "$dir"
}

local_raw() {
	[ -s "$dir/tty" ] && stty -a <"$(cat "$dir/tty")" | grep -q -- -icanon
}

@test "bytes that are sent early from a terminal whose cooked modes ssh sends are exact" {
	printf '6103620d\tany\n' | talk_when local_raw -- client tests/talk -p table \
		sh -c 'tty >"$1/tty" && exec ssh -tt -F "$0" demo' "$work/ssh_config" "$dir"
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
	printf 'a\r\n' | ssh_to pipe >"$dir/out" 2>"$dir/err"
	echo "$(answer "'a\\r\\n'")" | cmp - "$dir/out"
	same "" "$(cat "$dir/err")"
}

@test "without a pty, chunks of all sizes come back whole" {
	client tests/talk -u sizes ssh -F "$work/ssh_config" pipe
	client tests/talk -u random ssh -F "$work/ssh_config" pipe
}

@test "a command, scp, sftp and subsystems are refused with a reason, and sessions go on" {
	hold pty -tt pipe
	run ssh_to pipe "ls; id"
	same "1 echo-shell: refused 'ls; id': this account only echoes; run ssh without a command" "$status $output"
	ssh_to -tt pipe id >"$dir/refused" || status=$?
	same 1 "$status"
	printf "echo-shell: refused 'id': this account only echoes; run ssh without a command\r\n" | cmp - "$dir/refused"
	run client scp -F "$work/ssh_config" "$top/README" pipe:/tmp/
	[ "$status" != 0 ]
	# The old protocol is a command; scp has had -O for it since it has another.
	old=$(scp -O 2>&1 | grep -q 'unknown option' || echo -O)
	# shellcheck disable=SC2086 # an option or none
	run client scp -F "$work/ssh_config" $old "$top/README" pipe:/tmp/
	[ "$status" != 0 ]
	has "$output" "echo-shell: refused 'scp -t /tmp/'"
	run client sftp -F "$work/ssh_config" -b /dev/null pipe
	[ "$status" != 0 ]
	run ssh_to -s pipe netconf
	[ "$status" != 0 ]
	held pty
}

# Take the options of a forwarding that the server is to set up.
forward() {
	client timeout 20 ssh -F "$work/ssh_config" -N -o ExitOnForwardFailure=yes "$@" pipe
}

@test "forwarding is refused: TCP and sockets, both ways" {
	run ssh_to -o LogLevel=INFO -W "127.0.0.1:$port" pipe </dev/null
	same 255 "$status"
	has "$output" "channel 0: open failed: administratively prohibited"
	run forward -R "2999:127.0.0.1:$port"
	has "$output" "remote port forwarding failed for listen port 2999"
	run forward -R "$dir/socket:127.0.0.1:$port"
	has "$output" "remote port forwarding failed for listen path $dir/socket"
	[ ! -e "$dir/socket" ]
	ssh_to -N -L 127.0.0.1:2999:/dev/log pipe &
	wait_for in_machine bash -c 'exec 5<>/dev/tcp/127.0.0.1/2999; cat <&5'
	has "$(cat "$work/pipe.log")" "refused streamlocal port forward"
}

@test "agent, X11, environment and preload do not reach the program, which runs alone, as a guest" {
	LANG=xx_XX.UTF-8 SSH_AUTH_SOCK=$dir/agent DISPLAY=:9 hold alone -A -X \
		-o SendEnv=LANG -o SetEnv=LD_PRELOAD=/x pipe
	pid=$(served)
	run in_machine cat "/proc/$pid/environ"
	has "$output" SSH_CONNECTION=
	run in_machine grep -zE '^(LANG|LD_|LC_|MALLOC|DISPLAY|SSH_AUTH_SOCK)' "/proc/$pid/environ"
	same "1 " "$status $output"
	fails in_machine grep raw-pty "/proc/$pid/maps"
	same "$(in_machine id -u _echo-shell)" "$(in_machine awk '/^Uid:/ { print $2 }' "/proc/$pid/status")"
	same sshd "$(there 'cat "/proc/$(awk "/^PPid:/ { print \$2 }" "/proc/$0/status")/comm"' "$pid" | sed 's/sshd-session/sshd/')"
	same 1 "$(in_machine awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")"
	same 0 "$(in_machine stat -c %u "/proc/$pid/mem")" # root's: other sessions cannot open it
}

@test "only the right password of a guest opens it; before, the banner tells how to leave" {
	PASS=wrong denied -o LogLevel=INFO pipe
	has "$output" "To leave: Enter ~ ."
	PASS='' denied pipe
	denied -o PreferredAuthentications=publickey,keyboard-interactive,gssapi-with-mic,hostbased pipe
	has "$output" "Permission denied (password)."
	# Neither root nor anybody else of the machine's is known.
	in_machine useradd -M -d / -s /bin/sh stranger
	for user in root stranger; do
		echo "$user:$PASS" | in_machine chpasswd
		denied "$user@pipe"
	done
	has "$(cat "$work/pipe.log")" "Invalid user stranger"
	in_machine userdel stranger
}

@test "what the server's configuration promises is in force" {
	tr '[:upper:]' '[:lower:]' <<<"$(in_machine cat "$base/now/config")" >"$dir/options"
	lines_in "$dir/options" "usepam no" "permitrootlogin no" "allowgroups _echo-shell" "authenticationmethods password" \
		"forcecommand exec $base/now/echo-shell" "disableforwarding yes" "permituserrc no" \
		"permitemptypasswords no" "pubkeyauthentication no" "permittunnel no" \
		"kbdinteractiveauthentication no" "printmotd no" "printlastlog no" "compression no" "usedns no" \
		"logingracetime 30" "maxauthtries 3" "maxstartups 100:30:300" "persourcemaxstartups 50" "maxsessions 5" \
		"clientaliveinterval 15" "clientalivecountmax 2" "loglevel verbose" "banner $base/now/banner"
	# 10.6 shows no line for a global "AuthorizedKeysFile none".
	fails grep -E '^(subsystem|acceptenv|setenv|authorizedkeysfile .*/)' "$dir/options"
	# The cryptography is sshd's own choice.
	in_machine sshd -T -f /dev/null -h "$base/now/ssh_host_key" | tr '[:upper:]' '[:lower:]' |
		grep -E '^(kexalgorithms|ciphers|macs|hostkeyalgorithms) ' | sort >"$dir/defaults"
	grep -E '^(kexalgorithms|ciphers|macs|hostkeyalgorithms) ' "$dir/options" | cmp - "$dir/defaults"
}

@test "five sessions over one connection each get their own echo, a sixth is refused" {
	masters 1
	for i in 1 2 3 4 5; do
		hold "$i" -S "$dir/m1" demo
	done
	PASS=wrong denied -S "$dir/m1" demo # ssh then tries a connection of its own
	has "$(in_machine cat /var/log/echo-shell.log)" "no more sessions"
	for i in 1 2 3 4 5; do
		held "$i"
	done
}
