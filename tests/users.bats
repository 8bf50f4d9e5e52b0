#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# add-user, remove-user and status.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

@test "add-user makes users with passwords of their own; remove-user ends their sessions" {
	server_up
	setup_sh add-user alice bob >"$work/added"
	same 2 "$(grep -cE '^(alice|bob):[a-hjkmnp-z2-9]{20}$' "$work/added")"
	same 2 "$(cut -d : -f 2 "$work/added" | sort -u | wc -l)"
	printf 'carol:pass:with:colons \n_d-1:x' | setup_sh add-user -
	while IFS= read -r entry; do
		PASS=${entry#*:} echoes "${entry%%:*}@demo"
	done < <(cat "$work/added"; printf 'carol:pass:with:colons \n_d-1:x\n')

	mkfifo "$work/in"
	PASS=x ssh_demo _d-1@demo <>"$work/in" &
	wait_for serving 1
	setup_sh remove-user _d-1 alice
	serving 0
	fails in_machine getent passwd alice
	fails in_machine getent passwd _d-1
	says_only 1 "setup.sh: root is not an account that setup.sh made; nothing is removed" remove-user bob root
	in_machine getent passwd bob
	# Both can be repeated.
	run setup_sh remove-user alice bob
	same "0 echo-shell: alice is not here echo-shell: bob is removed, and the sessions are ended" "$status $(echo "$output" | tr '\n' ' ' | sed 's/ $//')"
	run setup_sh add-user carol dave
	same 0 "$status"
	same "echo-shell: carol is here already, and keeps its password" "${lines[0]}"
	PASS='pass:with:colons ' echoes carol@demo
	PASS=${lines[1]#dave:} echoes dave@demo
}

@test "add-user takes all of its users or none, and says in one line what is wrong" {
	says_only 1 "setup.sh: nothing is installed here, or only half: ./setup.sh or ./setup.sh drop-in first" add-user alice
	setup_sh drop-in
	in_machine useradd -M -d / stranger
	setup_sh add-user zoe
	tree >"$work/before"
	for case in 'stranger:x|the account stranger exists and is not' 'root:x|the account root exists and is not' \
		'no colon|line 2 is not name:password' '|line 2 is not name:password' \
		":x|'' is no name for a demo user" "echo-shell:x|'echo-shell' is no name for a demo user" \
		"echo-shell-probe:x|'echo-shell-probe' is no name for a demo user" \
		"-x:x|'-x' is no name" "a/b:x|'a/b' is no name" "a b:x|'a b' is no name" $'a\tb:x|\'a?b\' is no name' \
		"123:x|'123' is no name" "é:x|'??' is no name" "*:x|'*' is no name" \
		"$(printf '%300s' x | tr ' ' x):x|cannot make the account xxx" \
		'alice:y|alice is there twice' 'bob:|the password of bob is empty or has' \
		$'bob:x\t|the password of bob is empty or has' "bob:$(printf '%600s' x)|cannot set the password"; do
		run setup_sh add-user - < <(printf '%s\n' alice:x "${case%|*}")
		same 1 "$status"
		has "$(printf '%s\n' "$output" | tail -n 1)" "setup.sh: ${case##*|}"
		same_tree "$work/before"
	done
	says_only 1 "setup.sh: the account stranger exists and is not echo-shell's: rename or remove it, or take another name" add-user alice stranger
	says 1 "passwords are read from standard input" add-user bob:secret
	same_tree "$work/before"
}

@test "status says what is here and who is on, and is 0 only when all is well" {
	says_only 1 "setup.sh: nothing of echo-shell is here: ./setup.sh or ./setup.sh drop-in installs it" status
	server_up
	setup_sh add-user alice
	mkfifo "$work/in"
	ssh_demo demo <>"$work/in" &
	wait_for serving 1
	says 0 "  server     up, on [::]:$default_port 0.0.0.0:$default_port" status
	has "$output" "  host key   SHA256:"
	has "$output" "  user       alice, kept out of the system's sshd"
	grep -qE '^  session    demo from 127\.[0-9.]+$' <<<"$output"

	in_machine sed -i 's/^Include/#Include/' /etc/ssh/sshd_config
	says 1 "  user       demo, NOT kept out of the system's sshd: ./setup.sh remove-user demo" status
	in_machine sed -i 's/^#Include/Include/' /etc/ssh/sshd_config
	echo "AllowUsers alice" | in_machine tee "$admin"
	says 1 "  user       alice, kept out of the system's sshd" status
	has "$output" "  user       demo, cannot log in: AllowUsers alice"
	setup_sh remove-user alice
	setup_sh
	setup_sh add-user bob alice >"$work/added"
	same "echo-shell: not let in by this sshd, which has 'AllowUsers alice', until its configuration also has: AllowUsers bob" "$(head -n 1 "$work/added")"
	in_machine rm "$admin"
	run in_machine ./setup.sh status
	same 1 "$status"
	has "$output" "  install    not all of it is in force: ./setup.sh completes it"
	in_machine ./setup.sh
	echo "# newer" >>"$work/project/sshd_config.d/port-2022/banner"
	says 0 "  file       $own/banner is not this checkout's: ./setup.sh replaces it" status
	stop_sshd
	says 1 "  server     down: ./setup.sh starts it" status
}
