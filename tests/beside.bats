#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Beside a system's sshd in any state: the server leaves it alone; and the drop-in of README.

# shellcheck disable=SC2034 # client.bash reads it
each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

main=/etc/ssh/sshd_config

# Print all that the server must leave as it was: the machine's accounts but the one that it
# reserves, the files of sshd, and what other sshds are and say.
others() {
	there 'grep -v "^_echo-shell:" /etc/passwd /etc/shadow /etc/group /etc/gshadow
		find /etc/ssh -printf "%M %U %G %t %p\n" -type f -exec cksum {} +
		for name in /run/*.pid; do
			[ ! -e "$name" ] || { cat "$name" && tr "\0" " " </proc/$(cat "$name")/cmdline; }
		done
		cat /run/*.log; sshd -T' 2>&1 || :
}

# Compare them with what was kept.
same_others() {
	others >"$work/others.now"
	diff "$work/others" "$work/others.now"
}

# Install the server, log in and remove it, beside a system's sshd in the state that a line
# of shell makes, with its main file as $0.
in_state() {
	there "$1" "$main"
	others >"$work/others"
	tree >"$work/before"
	server_up
	same_others
	assert_equal "_echo-shell:!:" "$(in_machine grep -o '^_echo-shell:[^:]*:' /etc/shadow)"
	echoes
	says 0 "  guest      demo, 0 connected" status
	# No other sshd knows the guest.
	if listening 22; then
		denied -p 22 demo
		others >"$work/others" # with what that one logged
	fi
	hold one
	setup_sh uninstall
	same_others
	same_tree "$work/before"
}

@test "beside Debian's stock sshd, the server is another world" {
	other_sshd sshd -f "$main"
	in_state true
}

@test "beside an sshd without Include, with AllowUsers, a relative -f and an account demo of the machine's own" {
	there 'sed -i /^Include/d "$0" && echo "AllowUsers root" >>"$0"
		useradd -M -d / -s /bin/sh demo && echo demo:known | chpasswd
		cd /etc/ssh && "$(command -v sshd)" -f sshd_config -E /run/sshd.log -o PidFile=/run/sshd.pid' "$main"
	wait_for [ -s "$root/run/sshd.pid" ]
	in_state true
}

@test "beside a main file with Include in a Match, and an error, while no sshd runs" {
	in_state 'printf "Match Address 127.0.0.1\n\tX11Forwarding no\nInclude /etc/ssh/sshd_config.d/*.conf\nNoSuchOption yes\n" >>"$0"'
}

# Do what README says for an sshd that is there, word for word. sudo, systemctl and passwd are
# shims; ssh gets an answer to each question. What README shows must come.
recipe() {
	sed -n '/^    sudo make install$/,/^[^ ]/p' "$top/README" >"$work/recipe"
	sed -n 's/^    \([^ ]\)/\1/p' "$work/recipe" >"$work/commands"
	sed -n 's/^        //p' "$work/recipe" >"$work/expected"
	assert_equal "8 commands, 3 lines shown" "$(wc -l <"$work/commands") commands, $(wc -l <"$work/expected") lines shown"
	printf '#!/bin/sh\nexec "$@"\n' >"$work/bin/sudo"
	printf '#!/bin/sh\n[ "$*" != "reload ssh" ] || kill -HUP "$(cat /run/sshd.pid)"\n' >"$work/bin/systemctl"
	printf '#!/bin/sh\necho "$1:known" | chpasswd\n' >"$work/bin/passwd"
	chmod 755 "$work/bin/"*
	# sshd may still be reading its files.
	shim ssh "set -- -F '$work/ssh_config' -o ConnectionAttempts=$LIMIT \"\$@\""
	client env "$shims" sh -e "$work/commands" | tr -d '\r' >"$work/output"
	grep -i -e '^echo: ' -e ^forcecommand -e ^disableforwarding "$work/output" | sed 's/^[A-Z][A-Za-z]*/\L&/' | diff "$work/expected" -
}

@test "the drop-in, by README's lines: its user gets an echo and nothing else, others what they got" {
	in_machine mount -t tmpfs -o mode=755 machine /usr/local/share
	in_machine useradd -M -d / -s /bin/sh stranger
	echo stranger:known | in_machine chpasswd
	there 'echo "AcceptEnv LANG LC_*" >>"$0"; echo MOTD >/etc/motd' "$main"
	in_machine sshd -T -C user=stranger,host=h,addr=::1 >"$work/before"
	other_sshd sshd -f "$main" -p 22
	port=22 PASS=known
	client_setup
	mkfifo "$work/in"
	ssh_to stranger@demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for holds "$work/out" 1

	recipe
	in_machine sshd -T -C user=stranger,host=h,addr=::1 | cmp - "$work/before"
	head -n 256 "$top/tests/python2-repr.tsv" |
		talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" ann@demo
	for wish in "-W 127.0.0.1:22" "-s sftp" ls; do
		# shellcheck disable=SC2086 # words
		run ssh_to ${wish% *} ann@demo ${wish#* } </dev/null
		[ "$status" != 0 ]
		refute assert_contains "$output" SSH-2.0 >/dev/null
	done
	wait_for serving 0
	LANG=x LC_ALL=C hold env -o SendEnv='LANG LC_*' ann@demo
	refute grep -qzE '^(LANG|LC_)' "$proc/$(served)/environ"
	assert_equal hello "$(ssh_to stranger@demo echo hello)"
	echo 2 >"$work/in"
	wait_for holds "$work/out" 2
	# Each line of the file is in force.
	in_machine sshd -T -C user=ann,host=h,addr=192.0.2.1 | tr '[:upper:]' '[:lower:]' >"$work/options"
	lines_in "$work/options" "permittty yes" "permittunnel no" "allowagentforwarding no" "x11forwarding no" \
		"permituserrc no" "authenticationmethods password" "passwordauthentication yes" "maxsessions 1" \
		"permitemptypasswords no" "pubkeyauthentication no" "authorizedkeysfile none" "kbdinteractiveauthentication no"
	assert_equal 1 "$(grep -c '^acceptenv' "$work/options")"
	# The server has nothing to do with it, and each way out leaves the other its program.
	server_up
	echoes
	denied ann@demo
	in_machine make -s uninstall
	echoes
	held env
	setup_sh uninstall
	port=22 PASS=known
	client_setup
	held env
	echoes ann@demo
}
