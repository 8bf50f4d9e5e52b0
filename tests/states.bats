#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What a run that was cut off leaves, and state that somebody lost, filled up or replaced.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Have the programs that setup.sh starts count themselves, in $work/starts.
count_starts() {
	local tool rsa

	for tool in awk cat chmod chown cp cut date getent grep groupadd head id install ls make mkdir mkfifo mv paste \
		rm rmdir sed setsid sort ssh ssh-keygen sync tail timeout touch tr unshare useradd userdel wc xargs; do
		rsa=
		# A short key is soon made.
		[ "$tool" != ssh-keygen ] || rsa='case "$*" in *" rsa "*) set -- "$@" -b 1024 ;; esac;'
		shim "$tool" "$rsa"'printf . >>"$STARTS"
			read -r starts <"$STARTS"
			[ "${#starts}" -lt "$CUT" ] || kill -s KILL -- "-$(/bin/cat "$STARTS.group")"'
	done
}

# Run setup.sh with the environment $2 and arguments $3 and so on, and end it and all that
# it started as the program number $1 is to start. Set $starts to how many were started.
cut_off() {
	: >"$work/starts"
	status=0
	in_machine env "$shims" STARTS="$work/starts" CUT="$1" "$2" setsid -w \
		sh -c 'echo $$ >"$STARTS.group"; exec ./setup.sh "$@"' sh "${@:3}" >"$work/said" 2>&1 </dev/null || status=$?
	starts=$(wc -c <"$work/starts")
	echo "cut off at $1: status $status, after $starts programs"
}

# Print what a run must not lose: host keys, and guests with their passwords; but for ann.
treasure() {
	(cd "$root$state" 2>/dev/null && grep -hs '' ssh_host_*_key etc/passwd etc/shadow) | grep -vE '^(_trial|ann|root|sshd):' || :
}

@test "SIGKILL at any moment of a first install: the same command completes it, uninstall takes all off" {
	local k n=10 total=0 lost

	count_starts
	tree >"$work/before"
	for k in 1 2 3 4 5 6; do
		cut_off "$n" NONE=
		assert_equal 137 "$status"
		if ((k % 2)); then
			printed=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
			lost=$(treasure)
			cut_off 100000 NONE=
			assert_equal 0 "$status"
			((total)) || total=$starts
			treasure >"$work/treasure"
			[ -z "$lost" ] || refute grep -vxFf "$work/treasure" <<<"$lost"
			PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
			PASS=${PASS:-$printed}
			port=2022
			client_setup
			echoes
			refute grep -q _trial "$root$state/etc/passwd" "$root$state/etc/shadow"
		fi
		setup_sh uninstall
		same_tree "$work/before"
		refute listening 2022
		n=$((total * k / 6))
	done
}

@test "SIGKILL at any moment of a later run loses no key and no password, and the same command completes it" {
	local k words all treasure

	restore
	count_starts
	treasure=$(treasure)
	setup_sh add-user ann
	for words in PORT=2023 "NONE= add-user ann" "NONE= remove-user ann"; do
		# shellcheck disable=SC2086 # words
		cut_off 100000 $words
		all=$starts
		for k in 2 4 6 9; do
			[ "$words" != "NONE= remove-user ann" ] || setup_sh add-user ann >"$work/added"
			# shellcheck disable=SC2086 # words
			cut_off $((all * k / 10)) $words
			assert_equal 137 "$status"
			assert_equal "$treasure" "$(treasure)"
		done
	done
	server_up PORT=2023
	assert_equal "$treasure" "$(treasure)"
	PASS=$(cut -d ' ' -f 2 "$kept/login") echoes
	PASS=$(setup_sh add-user ann | sed 's/^ann://') echoes ann@demo
	setup_sh remove-user ann
}

@test "machine.conf and the unit are gone, the server killed: a run that fails takes no key and no guest, the next one completes" {
	local treasure

	restore
	treasure=$(treasure)
	end_process "$(server_pid)"
	rm "$root$state/machine.conf" "$root/etc/systemd/system/echo-shell.service"
	echo NoSuch >"$root$settings/a.conf"
	run setup_sh
	assert_equal "1 setup.sh: sshd refuses the settings in $settings: see above" "$status ${lines[-1]}"
	assert_equal "$treasure" "$(treasure)"
	rm "$root$settings/a.conf"
	says 1 "setup.sh: no echo server is installed here, or not all of it: ./setup.sh" add-user ann
	setup_sh
	assert_equal "$treasure" "$(treasure)"
	echoes
}

@test "on a full disk add-user fails and loses no guest; a full /run does not matter to it" {
	local pad treasure room

	restore
	end_process "$(server_pid)"
	# passwd fills a page but for some bytes: its copy has room, with one more guest it has not.
	pad=$((4090 - $(stat -c %s "$root$state/etc/passwd")))
	there 'printf "%0$(($1 - 22))d:x:1:1::/:/bin/no\n" 0 >>"$0/etc/passwd"
		cp -a "$0" /run/copy && mount -t tmpfs -o size=512k,mode=755 machine "$0" && cp -a /run/copy/. "$0"' "$state" "$pad"
	serve
	treasure=$(treasure)
	for room in 0 1; do
		there '! dd if=/dev/zero of="$0/fill" bs=4096 2>/dev/null && truncate -s "-$(($1 * 4096))" "$0/fill"' "$state" "$room"
		says 1 "setup.sh: cannot write $state/etc/" add-user ann
		assert_equal "$treasure" "$(treasure)"
		rm "$root$state/fill"
	done
	there 'mount -o remount,size=128k /run && ! dd if=/dev/zero of=/run/fill bs=4096 2>/dev/null'
	PASS=$(setup_sh add-user ann | sed 's/^ann://') echoes ann@demo
	echoes
}

@test "the folder with the guests is replaced, as from a backup, while a session is open: remove-user ends it" {
	restore
	hold demo
	there 'cd "$0" && cp -a etc copy && rm -r etc && mv copy etc' "$state"
	setup_sh remove-user demo
	wait_for serving 0
}
