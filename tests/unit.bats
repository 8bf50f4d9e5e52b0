#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The unit's sandbox, where systemd runs: transient units with its directives. The product and
# the state are the test's own, below /var, which the unit hides but for them: so it is where
# /usr/local is a link into /var. They leave nothing on the machine.

# shellcheck source=tests/machine.bash
. "$BATS_TEST_DIRNAME/machine.bash"

as_guest="setpriv --reuid=64321 --regid=64321 --clear-groups"

setup_file() {
	export base=''
	[ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || return 0
	base=$(mktemp -d /var/lib/echo-shell-test.XXXXXX)
	chmod 755 "$base"
	make -s -C "$top" install-server PREFIX="$base/product" UNITDIR="$base"
	# setup.sh's own functions make the state.
	functions 'state=$1/state settings=$1/state/sshd_config.d etc=$1/state/etc lib=$1/product/lib/echo-shell
		program=$1/product/bin/echo-shell ids=64321:64321 isolation=systemd
		make_etc demo && set_passwords demo:known' "$base"
	ssh-keygen -q -t ed25519 -N '' -f "$base/state/ssh_host_key"
	echo "HostKey /etc/echo-shell/ssh_host_key" >"$base/state/machine.conf"
	echo secret >"$base/outside"
	# All directives but those that say what runs, with the test's state.
	sed "/^\[Service\]/,/^\[Install\]/!d; /^[A-Z]/!d; /^Type/d; /^Exec/d; /^Restart/d
		s|/etc/echo-shell\([a-z/]*:\)|$base/state\1|g" "$base/echo-shell.service" >"$base/directives"
}

teardown_file() {
	[ -z "$base" ] || rm -rf "$base"
}

setup() {
	[ -n "$base" ] || skip "needs systemd"
}

# Run a command where the server runs.
in_unit() {
	local directive properties=()

	while read -r directive; do
		properties+=(-p "$directive")
	done <"$base/directives"
	timeout "$LIMIT" systemd-run -q --pipe --wait --collect "${properties[@]}" -- "$@" 3>&-
}

# Run a script there, as root or, with the words of a command before it, not.
probe() {
	in_unit "$@" sh -c "$(cat)" 2>&1 </dev/null
}

@test "in the unit, a login gets an echo, without and with a terminal, from a product below /var" {
	printf '#!/bin/sh\necho known\n' >"$base/askpass"
	chmod 755 "$base/askpass"
	echo "demo $(<"$base/state/ssh_host_key.pub")" >"$base/known_hosts"
	{
		printf '#!/bin/bash\n. "%s"\nbase=%q\n' "$top/tests/helpers.bash" "$base"
		declare -f in_unit
		printf 'in_unit /usr/sbin/sshd -f "%s" -e -i\n' "$base/product/lib/echo-shell/sshd_config"
	} >"$base/proxy"
	export BATS_TEST_DIRNAME SHELL=/bin/sh SSH_ASKPASS=$base/askpass SSH_ASKPASS_REQUIRE=force
	ssh="ssh -F none -o ProxyCommand='bash $base/proxy' -o UserKnownHostsFile=$base/known_hosts -o StrictHostKeyChecking=yes \
		-o IdentityFile=none -o NumberOfPasswordPrompts=1 -o LogLevel=ERROR -o ServerAliveInterval=$LIMIT"
	assert_equal "$(answer "'hi'")" "$(printf hi | timeout "$LIMIT" sh -c "$ssh -T demo@demo" 2>"$base/err" || cat "$base/err")"
	# With one only the keys Enter ~ . end it, after the answer.
	mkfifo "$base/keys"
	exec 9<>"$base/keys"
	printf hi >&9
	timeout "$LIMIT" sh -c "$ssh -tt demo@demo" <&9 >"$base/out" 2>"$base/err" 3>&- &
	wait_for [ -s "$base/out" ] || cat "$base/err"
	printf '\r~.' >&9
	wait "$!" || :
	exec 9>&-
	assert_equal "$(answer "'hi'")" "$(head -n 1 "$base/out")"
}

@test "in the unit, neither root nor a guest reads the machine's /etc, homes, /var, /run or /proc, or writes anywhere" {
	# The words of $as_guest are several.
	# shellcheck disable=SC2086
	for who in "" "$as_guest"; do
		assert_equal "echo-shell group hosts nsswitch.conf passwd shadow ssh utmp" "$(probe $who <<<'echo $(ls /etc | grep -v selinux)')"
		assert_equal "root sshd demo" "$(probe $who <<<'echo $(cut -d: -f1 /etc/passwd)')"
		assert_equal "" "$(probe $who <<<'for folder in /root /home /run/user /proc /boot /media /mnt /srv /dev/shm /tmp; do
			ls -A "$folder" 2>/dev/null; done; :')"
		assert_equal "" "$(probe $who <<<'find /run /var ! -type d ! -path "/run/systemd/*" ! -name utmp ! -path "/var/lib/echo-shell-test.*/product/*" 2>/dev/null')"
		assert_equal "" "$(probe $who <<<'for folder in / /etc /etc/echo-shell /run /run/sshd /tmp /usr /var /var/tmp; do
			touch "$folder/x" 2>/dev/null && echo "$folder"; done; :')"
	done
	# shellcheck disable=SC2086
	assert_equal 0 "$(probe $as_guest <<<'cat /etc/shadow /etc/echo-shell/ssh_host_key /etc/echo-shell/etc/shadow 2>/dev/null | wc -c')"
}

@test "in the unit, root reads no other process's files or memory, traces none, and gets no more rights" {
	local call calls

	case $(uname -m) in
	x86_64) calls="310 311 101" ;;
	aarch64) calls="270 271 117" ;;
	*) skip "no numbers of system calls for $(uname -m)" ;;
	esac
	sleep "$LIMIT" 3>&- &
	victim=$!
	for call in $calls; do # process_vm_readv, process_vm_writev, ptrace's ATTACH
		assert_equal "Operation not permitted" "$(probe <<-END
			perl -e 'syscall($call, $call < 200 ? (16, $victim) : ($victim, 0), 0, 0, 0, 0) == -1 and print \$!'
		END
		)"
	done
	assert_equal 0 "$(probe <<<"cat /proc/$victim/root/etc/shadow /proc/$victim/environ 2>/dev/null | wc -c")"
	kill "$victim"
	assert_equal "" "$(probe <<<'for command in "mount -t tmpfs x /run" "mount -o remount,rw /" "umount /etc" "unshare --net true" \
		"mknod /dev/x c 1 1" "setpriv --inh-caps=+sys_admin --ambient-caps=+sys_admin true" "hostname x"; do
			$command 2>/dev/null && echo "$command"; done; :')"
	in_unit sh -c 'echo $$$$; exec sleep "$0"' "$LIMIT" >"$base/pid" &
	wait_for [ -s "$base/pid" ]
	pid=$(<"$base/pid")
	proc=/proc
	assert_equal 1 "$(status_of "$pid" NoNewPrivs)"
	# No other bit than those of the unit's eight: 29, 0, 3, 5, 10, 6, 7 and 18.
	assert_equal 0 "$((0x$(status_of "$pid" CapBnd) & ~0x200404e9))"
	kill "$pid"
}

@test "settings that only root with all its rights can read are refused there, as a reload asks" {
	local test

	test=$(sed -n 's/^ExecReload=\(.* -t\)$/\1/p' "$base/echo-shell.service")
	[ -n "$test" ]
	mkdir -p "$base/state/sshd_config.d"
	echo "MaxAuthTries 9" >"$base/state/sshd_config.d/a.conf"
	# shellcheck disable=SC2086 # words
	in_unit $test
	chown 65534 "$base/state/sshd_config.d/a.conf"
	chmod 600 "$base/state/sshd_config.d/a.conf"
	# shellcheck disable=SC2086 # words
	run in_unit $test
	rm "$base/state/sshd_config.d/a.conf"
	[ "$status" != 0 ]
	assert_contains "$output" "a.conf: Permission denied"
}

@test "the unit's exposure is at most 3.0 for systemd-analyze" {
	systemd-analyze security --help | grep -q -- --offline || skip "this systemd has no security --offline"
	systemd-analyze security --offline=yes --threshold=30 "$base/echo-shell.service" >"$base/security" || {
		grep -v '✓' "$base/security"
		return 1
	}
}
