#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# add-user, remove-user and status.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

@test "add-user makes guests and gives new passwords, remove-user ends their sessions; nobody else's end" {
	local pid entry

	restore
	pid=$(server_pid)
	hold demo
	setup_sh add-user alice c.rol >"$work/added"
	assert_equal 2 "$(grep -cE '^(alice|c\.rol):[a-hjkmnp-z2-9]{20}$' "$work/added")"
	assert_equal 2 "$(cut -d : -f 2 "$work/added" | sort -u | wc -l)"
	printf 'carol:pass:with:colons \n_d-1:x' | setup_sh add-user - >"$work/given"
	assert_equal "carol _d-1" "$(paste -s -d ' ' "$work/given")"
	while IFS= read -r entry; do
		PASS=${entry#*:} echoes "${entry%%:*}@demo"
	done < <(cat "$work/added" && printf 'carol:pass:with:colons \n_d-1:x\n')
	refute in_machine getent passwd alice carol
	# A new password, for one who is logged in, too.
	PASS=x hold d1 _d-1@demo
	PASS=$(setup_sh add-user _d-1 | sed 's/^_d-1://') echoes _d-1@demo
	PASS=x denied _d-1@demo
	held d1
	says 0 "  guest      _d-1, 1 connected" status
	assert_contains "$output" "  guest      carol, 0 connected"
	says 1 "setup.sh: no such guest: nobody root" remove-user _d-1 nobody root alice
	assert_contains "$output" "echo-shell: _d-1 is removed, and the sessions are ended"
	assert_contains "$output" "echo-shell: alice is removed, and the sessions are ended"
	wait_for serving 1
	PASS=$(sed -n 's/^alice://p' "$work/added") denied alice@demo
	held demo
	assert_equal "$pid" "$(server_pid)"
}

@test "demo, once removed, stays so until there is a PASSWORD" {
	restore
	setup_sh add-user ann
	setup_sh remove-user demo
	setup_sh >"$work/said"
	refute grep -e '  password ' -e ' demo@' "$work/said"
	denied
	PASSWORD=again setup_sh
	PASS=again echoes
}

@test "add-user takes all of its guests or none, and says in one line what is wrong" {
	local check='etc=$1; check_guests "$2" 2>&1' x33 line

	printf 'root:x:0:0::/:/\nsshd:x:1:1::/:/\nann:x:9:9:echo-shell guest:/:/\n' >"$work/passwd"
	x33=$(printf '%33s' x | tr ' ' x)
	functions "$check" "$work" $'ann:x\nA-b_c.1:a:b \n_x:\303\251'
	functions "$check" "$work" "${x33#x}:$(printf '%256s' x)"
	functions "$check" /nonexistent root:x # in a new state folder nobody is there yet
	for line in "root:x|'root' is no name for a guest: an account has it" "sshd:x|'sshd' is no name for a guest: an account" \
		"no colon|line 2 is not name:password" "|line 2 is not name:password" ":x|'' is no name for a guest: take up to 32" \
		"_trial:x|'_trial' is no name" "-x:x|'-x' is no name" ".x:x|'.x' is no name" "a/b:x|'a/b' is no name" \
		"a b:x|'a b' is no name" $'a\tb:x|\'a?b\' is no name' "123:x|'123' is no name" "é:x|'??' is no name" "*:x|'*' is no name" \
		"$x33:x|'$x33' is no name" "alice:y|'alice' is there twice" \
		"bob:|the password of 'bob' is not 1 to 256 characters" $'bob:x\t|the password of \'bob\' is' $'bob:x\177|the password of \'bob\' is' \
		"bob:$(printf '%257s' x)|the password of 'bob' is not 1 to 256 characters, or has a control character"; do
		run functions "$check" "$work" $'alice:x\n'"${line%|*}"
		assert_equal 1 "$status"
		assert_equal 1 "${#lines[@]}"
		assert_contains "$output" "setup.sh: ${line##*|}"
	done
	says 1 "setup.sh: no echo server is installed here, or not all of it: ./setup.sh" add-user alice
	restore
	tree >"$work/before"
	printf 'alice:x\nsshd:x\n' >"$work/lines"
	run setup_sh add-user - <"$work/lines"
	assert_equal "1 setup.sh: 'sshd' is no name for a guest: an account has it" "$status $output"
	says 1 "setup.sh: names come without a password; see ./setup.sh --help" add-user bob:secret
	says 1 "setup.sh: add-user wants names; see ./setup.sh --help" add-user
	same_tree "$work/before"
}

@test "a guest and an account of the machine with that name are two people" {
	restore
	in_machine useradd -M -d / -s /bin/sh demo
	echo demo:known | in_machine chpasswd
	other_sshd sshd -f /etc/ssh/sshd_config -p 22
	hold guest
	mkfifo "$work/in"
	PASS=known ssh_to -p 22 demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"
	denied -p 22 demo
	PASS=known denied
	says 0 "  guest      demo, 1 connected" status
	setup_sh remove-user demo
	wait_for serving 0
	echo 2 1<>"$work/in"
	wait_for grep -qx 2 "$work/out"
	assert_equal hello "$(PASS=known ssh_to -p 22 demo echo hello)"
}

@test "status says that the server is down, has another OpenSSH or another key; a run mends it" {
	restore
	says 0 "  listens    0.0.0.0:2022 [::]:2022" status
	assert_contains "$output" "  host key   $(sed -n 's/^  host key   //p' "$kept/said")"
	there 'for key in "$0"/*.pub; do cp /etc/ssh/ssh_host_ed25519_key.pub "$key"; done' "$state"
	says 1 "setup.sh: the server is up, but does not answer with our key: ./setup.sh" status
	# sshd is upgraded under the server.
	there 'cp "$1" "$0/sshd" && mount --bind "$0/sshd" "$1"' "$work" "$(readlink -f "$(command -v sshd)")"
	says 1 "setup.sh: the server is up, but OpenSSH was replaced since: ./setup.sh" status
	setup_sh
	says 0 "  server     up" status
	end_process "$(server_pid)"
	says 1 "setup.sh: the server is down: ./setup.sh" status
	assert_contains "$output" "  server     down"
	setup_sh
	echoes
}
