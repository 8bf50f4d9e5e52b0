#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Beside a system's sshd in any state: the server leaves it alone; and the drop-in of README.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

main=/etc/ssh/sshd_config

# Print all that the server must leave as it was: the machine's accounts but the one that it
# reserves, the files of sshd, and what other sshds are and say.
others() {
	there 'grep -v "^_echo-shell:" /etc/passwd /etc/shadow /etc/group
		find /etc/ssh -exec ls -ld {} + -type f -exec cksum {} +
		for name in /run/*.pid; do [ "$name" = /run/echo-shell.pid ] || cat "$name" /proc/$(cat "$name")/cmdline; done
		cat /run/*.log; sshd -T || :' 2>&1
}

# Put the system's sshd in a state, by a shell with its main file as $0, and start what the
# further arguments say. Then install the server, log in, and remove it.
in_state() {
	there "$1" "$main"
	[ $# = 1 ] || other_sshd "${@:2}"
	others >"$work/others"
	server_up
	others | cmp - "$work/others"
	echoes
	says 0 "  server     up" status
	# No part of the machine knows the guest.
	[ -n "${own_demo-}" ] || fails in_machine getent passwd demo
	[ $# = 1 ] || denied -p 22 demo
	[ $# = 1 ] || others >"$work/others"
	setup_sh uninstall
	others | cmp - "$work/others"
}

@test "beside Debian's stock sshd, the server is another world" {
	in_state true sshd -f "$main"
}

@test "beside an sshd whose main file has no Include, or has it in a Match, or has an error" {
	in_state 'sed -i /^Include/d "$0"' sshd -f "$main"
	in_state 'printf "Match Address 127.0.0.1\n\tX11Forwarding no\nInclude /etc/ssh/sshd_config.d/*.conf\n" >>"$0"'
	in_state 'echo "NoSuchOption yes" >>"$0"'
}

@test "beside an sshd that was started with a relative -f" {
	there 'cd /etc/ssh && "$(command -v sshd)" -f sshd_config -E /run/sshd.log -o PidFile=/run/sshd.pid'
	wait_for in_machine test -s /run/sshd.pid
	in_state true
}

@test "beside an account demo of the machine's own, and AllowUsers root" {
	own_demo=yes
	in_state 'useradd -M -d / -s /bin/sh demo; echo demo:known | chpasswd; echo "AllowUsers root" >>"$0"' sshd -f "$main"
}

# Do what README says for an sshd that is there: all its lines but what only a person can do.
recipe() {
	sed -n '/^    sudo make install/,/^    sudo passwd NAME/p' "$top/README" >"$work/recipe"
	same 7 "$(grep -c '^    sudo ' "$work/recipe")"
	sed -n 's/^    sudo //p' "$work/recipe" | sed "s/ && sudo / \&\& /g; s/NAME/alice/g
		s|systemctl try-reload-or-restart ssh|kill -HUP \$(cat /run/sshd.pid)|; s|^passwd alice|echo alice:known \| chpasswd|" >"$work/commands"
	in_machine sh -ex "$work/commands" >"$work/output"
}

@test "the drop-in, by README's lines: its user gets an echo and nothing else, others what they got" {
	in_machine useradd -M -d / -s /bin/sh stranger
	echo stranger:known | in_machine chpasswd
	there 'echo "AcceptEnv LANG LC_*" >>"$0"; echo MOTD >/etc/motd' "$main"
	in_machine sshd -T -C user=stranger,host=h,addr=::1 >"$work/before"
	other_sshd sshd -f "$main" -p 22
	port=22 PASS=known
	mkdir -p "$work/none" # of the server
	client_setup
	mkfifo "$work/in"
	ssh_to stranger@demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"

	recipe
	# README shows the two lines that prove it.
	sed -n 's/^        \(forcecommand\|disableforwarding\)/\1/p' "$work/recipe" >"$work/expected"
	same 2 "$(wc -l <"$work/expected")"
	tr '[:upper:]' '[:lower:]' <"$work/output" | grep -e ^forcecommand -e ^disableforwarding | cmp - "$work/expected"
	in_machine sshd -T -C user=stranger,host=h,addr=::1 | cmp - "$work/before"
	wait_for echoes alice@demo
	head -n 256 "$top/tests/python2-repr.tsv" |
		talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" alice@demo
	for wish in "-W 127.0.0.1:22" "-s sftp" ls; do
		# shellcheck disable=SC2086 # words
		run ssh_to -o LogLevel=INFO ${wish% *} ${wish#* } alice@demo </dev/null
		[ "$status" != 0 ]
	done
	LANG=x LC_ALL=C hold env -o SendEnv='LANG LC_*' alice@demo
	fails in_machine grep -qzE '^(LANG|LC_)' "/proc/$(served)/environ"
	same hello "$(ssh_to stranger@demo echo hello)"
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"
	# Each line of the file is in force.
	in_machine sshd -T -C user=alice,host=h,addr=192.0.2.1 | tr '[:upper:]' '[:lower:]' >"$work/options"
	lines_in "$work/options" "permittty yes" "permittunnel no" "allowagentforwarding no" "x11forwarding no" \
		"permituserrc no" "authenticationmethods password" "passwordauthentication yes" "maxsessions 1" \
		"permitemptypasswords no" "pubkeyauthentication no" "authorizedkeysfile none" "kbdinteractiveauthentication no"
	same 1 "$(grep -c '^acceptenv' "$work/options")"
	# The server has nothing to do with it.
	server_up
	echoes
	denied alice@demo
	setup_sh uninstall
	in_machine getent passwd alice
}
