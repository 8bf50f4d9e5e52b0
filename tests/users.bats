#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# add-user, remove-user and status.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

@test "add-user makes guests and gives new passwords, remove-user ends their sessions; both at once, and nobody else's" {
	server_up
	pid=$(server_pid)
	hold demo
	setup_sh add-user alice bob >"$work/added"
	same 2 "$(grep -cE '^(alice|bob):[a-hjkmnp-z2-9]{20}$' "$work/added")"
	same 2 "$(cut -d : -f 2 "$work/added" | sort -u | wc -l)"
	printf 'carol:pass:with:colons \n_d-1:x' | setup_sh add-user - >"$work/given"
	same "carol _d-1" "$(paste -s -d ' ' "$work/given")"
	while IFS= read -r entry; do
		PASS=${entry#*:} echoes "${entry%%:*}@demo"
	done < <(cat "$work/added"; printf 'carol:pass:with:colons \n_d-1:x\n')
	same "" "$(in_machine getent passwd alice carol)"
	setup_sh add-user c.rol

	# A new password, for who is logged in, too.
	PASS=x hold d1 _d-1@demo
	setup_sh add-user bob _d-1 >"$work/added"
	PASS=$(sed -n 's/^_d-1://p' "$work/added") echoes _d-1@demo
	PASS=x denied _d-1@demo
	held d1

	setup_sh remove-user _d-1 alice
	serving 1
	PASS=x denied _d-1@demo
	says 0 "echo-shell: alice is not here" remove-user alice bob root
	has "$output" "echo-shell: root is not here"
	has "$output" "echo-shell: bob is removed, and the sessions are ended"
	held demo
	same "$pid" "$(server_pid)"
	# PASSWORD= changes shadow alone; demo, once removed, stays so until there is a PASSWORD.
	PASSWORD=word setup_sh >"$work/said"
	has "$(cat "$work/said")" "nothing was changed or restarted but the password of demo"
	has "$(cat "$work/said")" "  password   the one in PASSWORD"
	PASS=word echoes
	held demo
	same "$pid" "$(server_pid)"
	setup_sh remove-user demo
	serving 0
	PASS=word denied
	setup_sh | grep "nothing was changed"
	says 0 "  guest      carol, 0 connected" status
	fails has "$output" "demo"
	PASSWORD=again setup_sh
	PASS=again echoes
}

@test "add-user takes all of its guests or none, and says in one line what is wrong" {
	says 1 "setup.sh: no echo server is installed here: ./setup.sh" add-user alice
	setup_sh
	tree >"$work/before"
	for case in "root:x|'root' is no name for a guest: an account has it" 'no colon|'"'no colon' is not a line of name:password" \
		"|'' is not a line of name:password" ":x|'' is no name for a guest" "sshd:x|'sshd' is no name for a guest: an account has it" \
		"_trial:x|'_trial' is no name" "-x:x|'-x' is no name" "a/b:x|'a/b' is no name" "a b:x|'a b' is no name" \
		$'a\tb:x|\'a?b\' is no name' "123:x|'123' is no name" "é:x|'??' is no name" "*:x|'*' is no name" \
		"$(printf '%33s' x | tr ' ' x):x|'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is too long a name" \
		'alice:y|alice is there twice' 'bob:|the password of bob is empty or has' \
		$'bob:x\t|the password of bob is empty or has' "bob:$(printf '%257s' x)|the password of bob has more than 256 characters"; do
		run setup_sh add-user - < <(printf '%s\n' alice:x "${case%|*}")
		same 1 "$status"
		has "$(printf '%s\n' "$output" | tail -n 1)" "setup.sh: ${case##*|}"
		same_tree "$work/before"
	done
	says 1 "setup.sh: 'bob:secret' is no name for a guest" add-user bob:secret
	same_tree "$work/before"
}

@test "a guest and an account of the machine with that name are two people" {
	in_machine useradd -M -d / -s /bin/sh demo
	echo demo:known | in_machine chpasswd
	other_sshd sshd -f /etc/ssh/sshd_config -p 22
	server_up
	hold guest
	mkfifo "$work/in"
	PASS=known ssh_to -p 22 demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"
	denied -p 22 demo
	PASS=known denied
	has "$(in_machine ./setup.sh status)" "  guest      demo, 1 connected"
	setup_sh remove-user demo
	serving 0
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"
	same hello "$(PASS=known ssh_to -p 22 demo echo hello)"
	setup_sh uninstall
	echo 3 >"$work/in"
	wait_for grep -qx 3 "$work/out"
	in_machine getent passwd demo
}
