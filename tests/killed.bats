#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh is killed at each of its steps in turn.

each=step
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

@test "install: after SIGKILL at any step no account is open, the same command completes it, uninstall removes it" {
	local at=0 order

	snapshot clean
	while at=$((at + 1)) && stop_at KILL "$at"; do
		no_open_account
		snapshot cut
		order="complete remove"
		[ $((at % 2)) = 0 ] || order="remove complete"
		for next in $order; do
			[ "$next" = "${order%% *}" ] || reset cut # the first is with what runs by then
			if [ "$next" = complete ]; then
				setup_sh >"$work/said" 2>&1
				grep -q '^  password ' "$work/said" || has "$(cat "$work/stopped")" chpasswd
				in_machine test -e "$own/in-force"
			else
				setup_sh uninstall
				same_tree "$work/before"
			fi
		done
		reset clean
	done
	[ "$at" -gt 20 ]
}

@test "uninstall: after SIGKILL at any step no account is open, and the same command completes it" {
	local at=0

	setup_sh
	snapshot installed
	while at=$((at + 1)) && stop_at KILL "$at" uninstall; do
		no_open_account
		setup_sh uninstall
		same_tree "$work/before"
		reset installed
	done
	[ "$at" -gt 10 ]
}

@test "drop-in and add-user: after SIGKILL at any step, the same command completes it" {
	local at=0

	snapshot clean
	while at=$((at + 1)) && stop_at KILL "$at" drop-in; do
		no_open_account
		setup_sh drop-in
		fails in_machine getent passwd echo-shell-probe
		in_machine test -e "$own/in-force"
		reset clean
	done
	[ "$at" -gt 8 ]
	at=0
	setup_sh drop-in
	snapshot drop-in
	while at=$((at + 1)) && stop_at KILL "$at" add-user alice bob; do
		no_open_account
		setup_sh add-user alice bob >>"$work/said"
		same 2 "$(grep -c ':....................$' "$work/said")"
		reset drop-in
	done
	[ "$at" = 4 ]
}

@test "install: cut off before the reload, it is made up for before there is a password" {
	system_sshd_up /run/sshd.pid -f /etc/ssh/sshd_config
	until stop_at KILL "$((at += 1))" && in_machine test -e "$lock"; do :; done
	setup_sh >"$work/said"
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
	[ -n "$PASS" ]
	port=22
	client_setup
	denied
}

@test "install: a change of PORT that is cut off is made up for, to that port and back" {
	setup_sh
	pid=$(server_pid)
	environment=PORT=2345
	until in_machine grep -q '^Port 2345' "$own/sshd_config"; do
		stop_at KILL $((at += 1))
	done
	in_machine kill -0 "$pid"
	PORT="$default_port" setup_sh # its own server still has that port
	fails same "$pid" "$(server_pid)"
}
