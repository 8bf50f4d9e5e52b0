#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# All or nothing: setup.sh is stopped after each of its steps in turn.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	machine_up
	need_machine
	[ -z "${TEST_HERE-}" ] || skip "stops setup.sh at every step: only in namespaces"
	mkdir "$work/bin"
	for tool in mkdir mv rm useradd userdel usermod groupadd groupdel chpasswd sync ssh sshd; do
		cat >"$work/bin/$tool" <<-END
			#!/bin/sh
			# Counts the steps that change something; at \$AT, does what \$HOW says.
			case "$tool \$*" in
			*installed.new*|mkdir*/run/sshd|'sshd -t'*|'sshd -T'*|rm*"-rf /tmp"*|*--help) exec $(command -v $tool) "\$@" ;;
			esac
			step=\$((\$(cat "$work/step") + 1))
			echo "\$step" >"$work/step"
			if [ "\$step" != "\$AT" ]; then
				exec $(command -v $tool) "\$@"
			fi
			echo "$tool \$*" >"$work/stopped"
			[ "\$HOW" != fail ] || { echo "$tool is broken" >&2; exit 1; }
			$(command -v $tool) "\$@"
			status=\$?
			kill -s "\$HOW" "\$(cat "$work/pid.setup")"
			exit "\$status"
		END
		chmod 755 "$work/bin/$tool"
	done
	in_machine mkdir -p /run/sshd
	tree >"$work/before"
}

teardown() {
	[ -z "$no_machine" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || cat "$work/stopped" "$work/said" || :
	machine_down
}

# Takes how to stop setup.sh (fail, or a signal), at which step, and its arguments.
# Fails where that step was not reached.
stop_at() {
	local how=$1 at=$2

	shift 2
	echo 0 >"$work/step"
	rm -f "$work/stopped"
	# What runs in the background has SIGINT ignored, which a shell cannot take back.
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine env --default-signal=INT,QUIT HOW="$how" AT="$at" PATH="$work/bin:$PATH" sh -c \
		'echo "$$" >"$0/pid.setup"; exec ./setup.sh "$@"' "$work" "$@" >"$work/said" 2>&1 || :
	[ -e "$work/stopped" ]
}

# No demo account may have a password where the system's sshd would let it in.
no_open_account() {
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'for user in $(getent passwd | grep ":echo-shell demo user:" | cut -d: -f1); do
		case $(getent shadow "$user" | cut -d: -f2) in
		!*) ;;
		*) sshd -T -C "user=$user,host=localhost,addr=127.0.0.1" | grep -qi -e "^denygroups echo-shell" -e "^forcecommand exec /usr/local/bin/echo-shell" || exit ;;
		esac
	done'
}

# Takes how, a script that prepares the machine, and setup.sh's arguments; stops it
# at each step. Nothing of that run may be left, and one line must say what failed.
undone_after_each_step() {
	local how=$1 before=$2 at=0

	shift 2
	in_machine sh -c "$before"
	tree >"$work/before"
	while at=$((at + 1)) && stop_at "$how" "$at" "$@"; do
		tree | diff "$work/before" - || return
		no_open_account
		same 1 "$(grep -c "^setup.sh: " "$work/said")"
		fails grep "stopped with status" "$work/said"
	done
	[ "$at" -gt 3 ]
}

@test "install: whichever step fails, nothing is left" {
	undone_after_each_step fail true
}

@test "install: a signal leaves nothing, and is named" {
	local at=1

	for signal in HUP INT QUIT TERM; do
		stop_at "$signal" $((at += 3))
		tree | diff "$work/before" -
		has "$(tail -n 1 "$work/said")" "setup.sh: interrupted; all that this run did is undone"
	done
}

@test "drop-in and add-user: whichever step fails, nothing is left" {
	undone_after_each_step fail true drop-in
	in_machine ./setup.sh uninstall
	undone_after_each_step fail './setup.sh drop-in' add-user alice bob
}

@test "uninstall: whichever step fails, all is there again" {
	undone_after_each_step fail './setup.sh && echo "# mine" >>/etc/ssh/echo-shell/sshd_config' uninstall
}

@test "install: after SIGKILL at any step no account is open, and the same command completes it" {
	local at=0

	while at=$((at + 1)) && stop_at KILL "$at"; do
		no_open_account
		in_machine ./setup.sh >"$work/said" 2>&1
		grep -q '^  password ' "$work/said" || {
			in_machine grep -qx 'user ~demo' /etc/ssh/echo-shell/installed
		}
		in_machine ./setup.sh status
		in_machine ./setup.sh uninstall
		tree | diff "$work/before" -
	done
	[ "$at" -gt 10 ]
}

@test "drop-in and add-user: after SIGKILL at any step, the same command completes it" {
	local at=0

	while at=$((at + 1)) && stop_at KILL "$at" drop-in; do
		no_open_account
		in_machine ./setup.sh drop-in
		fails in_machine getent passwd echo-shell-probe
		in_machine ./setup.sh status
		in_machine ./setup.sh uninstall
		tree | diff "$work/before" -
	done
	[ "$at" -gt 5 ]
	at=0
	while at=$((at + 1)) && stop_at KILL "$at" add-user alice bob; do
		no_open_account
		same 2 "$(in_machine ./setup.sh add-user alice bob | grep -c ':....................$')"
		in_machine ./setup.sh remove-user alice bob
	done
	[ "$at" -gt 4 ]
}

@test "install: uninstall takes off what SIGKILL has left" {
	local at=0

	while at=$((at + 5)) && stop_at KILL "$at"; do
		in_machine ./setup.sh uninstall
		tree | diff "$work/before" -
	done
	[ "$at" -gt 10 ]
}

@test "install: cut off before the reload, it is made up for before there is a password" {
	local at

	dir=$work
	: >"$dir/clients"
	system_sshd_up -f /etc/ssh/sshd_config
	for at in 3 6; do
		stop_at KILL "$at"
		in_machine ./setup.sh >"$work/said"
		PASSWORD=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
		[ -n "$PASSWORD" ]
		port=22
		client_setup
		run ssh_demo demo </dev/null
		has "$output" "Permission denied"
		in_machine ./setup.sh uninstall
	done
}

@test "install: an upgrade that is cut off before the restart is made up for" {
	local at=0

	in_machine ./setup.sh
	in_machine sed -i 's/^MaxAuthTries 3/MaxAuthTries 2/' sshd_config.d/port-2022/sshd_config
	until in_machine grep -q '^MaxAuthTries 2' /etc/ssh/echo-shell/sshd_config; do
		stop_at KILL $((at += 1))
	done
	pid=$(in_machine cat /run/echo-shell.pid)
	in_machine kill -0 "$pid"
	in_machine ./setup.sh
	fails same "$pid" "$(in_machine cat /run/echo-shell.pid)"
}

@test "install: a reader of what it says that goes away leaves nothing" {
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c './setup.sh 2>"$0" | head -n 3' "$work/said"
	wait_for grep -q '^setup.sh: ' "$work/said"
	has "$(cat "$work/said")" "setup.sh: cannot write to standard output; all that this run did is undone"
	tree | diff "$work/before" -
}

@test "a full disk leaves nothing, and one line says so" {
	dd if=/dev/zero of="/proc/$(cat "$work/pid")/root$work/over/fill" bs=65536 2>/dev/null || :
	fails in_machine ./setup.sh >"$work/said" 2>&1
	in_machine rm "$work/over/fill"
	tree | diff "$work/before" -
	has "$(cat "$work/said")" "No space left on device"
	same 1 "$(grep -c "^setup.sh: " "$work/said")"
}
