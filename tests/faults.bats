#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh fails or is interrupted: at each of its steps in turn, all or nothing.

each=step
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

# Print the state that a failure must go back to: the files, and who listens.
state() {
	tree
	there 'cat /proc/net/tcp' | awk '$4 == "0A" { print $2 }' | sort
}

# Fail each step of setup.sh with these arguments in turn, more than $1 of them. Each time
# all must be as before, and one line must say what failed.
goes_back() {
	local at=0 least=$1

	shift
	state >"$work/before"
	while at=$((at + 1)) && stop_at fail "$at" "$@"; do
		state | diff "$work/before" -
		no_open_account
		same 1 "$(grep -c "^setup.sh: " "$work/said")"
		has "$(tail -n 1 "$work/said")" " is broken"
		has "$(tail -n 1 "$work/said")" "; all is as it was before"
	done
	[ "$at" -gt "$least" ]
}

@test "install: whichever step fails, nothing is left" {
	goes_back 20
}

@test "install: a signal leaves nothing, and is named" {
	local at=1

	for signal in HUP INT QUIT TERM; do
		stop_at "$signal" $((at += 5))
		same_tree "$work/before"
		has "$(tail -n 1 "$work/said")" "setup.sh: interrupted; all is as it was before"
	done
}

@test "an upgrade with a change of PORT: whichever step fails, the old server goes on" {
	setup_sh
	echo >>"$work/project/echo-shell"
	environment=PORT=2345
	goes_back 11
}

@test "drop-in and add-user: whichever step fails, nothing is left" {
	goes_back 8 drop-in
	setup_sh drop-in
	goes_back 3 add-user alice bob
}

@test "uninstall and remove-user: whichever step fails, the next run goes on" {
	local at=0

	setup_sh
	setup_sh add-user alice
	snapshot installed
	while at=$((at + 1)) && stop_at fail "$at" remove-user alice demo; do
		same 1 "$(grep -c "^setup.sh: " "$work/said")"
		setup_sh remove-user alice demo
		fails there 'getent passwd alice || getent passwd demo'
		reset installed
	done
	[ "$at" = 5 ]
	at=0
	reset installed
	while at=$((at + 1)) && stop_at fail "$at" uninstall; do
		same 1 "$(grep -c "^setup.sh: " "$work/said")"
		no_open_account
		setup_sh uninstall
		same_tree "$work/before"
		reset installed
	done
	[ "$at" -gt 10 ]
}

@test "install: accounts that cannot be removed keep their lock, and the same command completes it" {
	for tool in userdel usermod groupdel; do
		shim "$tool" 'exit 1'
	done
	shim ssh 'exit 255'
	run in_machine env "$shims" ./setup.sh
	same 1 "$status"
	has "$output" "but cannot remove the account demo"
	no_open_account
	in_machine test -e "$lock"
	setup_sh | grep -q '^  password '
	setup_sh uninstall
	same_tree "$work/before"
}

@test "install: a reader of what it says that goes away leaves nothing" {
	there './setup.sh 2>"$0" | head -n 1' "$work/said"
	wait_for grep -q '^setup.sh: ' "$work/said"
	same "setup.sh: cannot write to standard output; all is as it was before" "$(cat "$work/said")"
	same_tree "$work/before"
}

@test "a full disk leaves nothing, and one line says so" {
	there 'dd if=/dev/zero of=/etc/fill bs=65536 2>/dev/null'  || :
	fails setup_sh >"$work/said" 2>&1
	in_machine rm /etc/fill
	same_tree "$work/before"
	has "$(cat "$work/said")" "No space left on device"
	same 1 "$(grep -c "^setup.sh: " "$work/said")"
}
