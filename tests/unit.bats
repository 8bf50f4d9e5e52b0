#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The unit's sandbox, where systemd runs: transient units with its properties, made by
# setup.sh's own functions on a tree of the test's. They leave nothing on the machine.

# shellcheck source=tests/machine.bash
. "$BATS_TEST_DIRNAME/machine.bash"

setup_file() {
	export tree functions
	[ -S /run/dbus/system_bus_socket ] && [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || return 0
	tree=$(mktemp -d)
	functions=$tree/functions
	mkdir "$tree/scratch"
	ssh-keygen -q -t ed25519 -N '' -f "$tree/key"
	# All of setup.sh but its last line, with the test's folders.
	sed '$d' "$top/setup.sh" >"$functions"
	cat >>"$functions" <<-END
		here=$top files=$top/sshd_config.d/port-2022 new=$tree/new work=$tree/scratch
		uid=64321 gid=64321 PASSWORD=x HOST_KEY=$tree/key sshd=\$(command -v sshd)
		find_place
	END
	with_functions 'make_tree && remove_guests _trial'
}

teardown_file() {
	rm -rf "$tree"
}

setup() {
	[ -n "$tree" ] || skip "needs systemd"
}

with_functions() {
	sh -c 'eval="$1" && . "$0" && etc=$new/etc && trap "finish \$?" EXIT && eval "$eval"' "$functions" "$1"
}

# Run a script where the server runs, as root or, with a command before it, not.
inside() {
	cat >"$tree/new/probe"
	with_functions "sh -c \"\$(sandbox) ${1-} sh /var/lib/echo-shell/now/probe\"" 2>&1
}

as_guest="setpriv --reuid=64321 --regid=64321 --clear-groups"

@test "a login gets an echo in the unit's own sandbox, without and with a terminal" {
	with_functions 'make_tree && check_config && prove'
}

@test "in the sandbox, neither root nor a guest reads the machine's /etc, homes, /var, /run or /proc" {
	for who in "" "$as_guest"; do
		same "group hosts nsswitch.conf passwd shadow" "$(inside "$who" <<<'ls /etc | grep -v selinux | paste -s -d " " -')"
		same "root sshd demo" "$(inside "$who" <<<'cut -d: -f1 /etc/passwd | paste -s -d " " -')"
		same "" "$(inside "$who" <<<'for folder in /root /home /run/user /proc /boot /media /mnt /srv /dev/shm /tmp; do
			ls -A "$folder" 2>/dev/null; done')"
		same "/var/lib/echo-shell" "$(inside "$who" <<<'ls -d /var/lib/*')"
		same "" "$(inside "$who" <<<'find /run /var ! -type d ! -path "/run/systemd/*" ! -path "/var/lib/echo-shell/*" ! -name utmp 2>/dev/null; :')"
		same "" "$(inside "$who" <<<'for folder in / /etc /run /run/sshd /tmp /usr /var /var/tmp; do touch "$folder/x" 2>/dev/null && echo "$folder"; done; :')"
	done
	same 0 "$(inside "$as_guest" <<<'cat /etc/shadow /var/lib/echo-shell/now/ssh_host_key 2>/dev/null | wc -c')"
}

@test "in the sandbox, root reads no other process's files or memory, and traces none" {
	case $(uname -m) in
	x86_64) calls="310 311 101" ;;
	aarch64) calls="270 271 117" ;;
	*) skip "no numbers of system calls for $(uname -m)" ;;
	esac
	sleep 1000 3>&- &
	for call in $calls; do # process_vm_readv, process_vm_writev, ptrace's ATTACH
		same "Operation not permitted" "$(inside <<-END
			perl -e 'syscall($call, $call < 200 ? (16, $!) : ($!, 0), 0, 0, 0, 0) == -1 and print \$!'
		END
		)"
	done
	same 0 "$(inside <<<"cat /proc/$!/root/etc/shadow 2>/dev/null | wc -c")"
	kill "$!"
}

@test "where systemd may not mount, one line says so, and what to do" {
	cp "$tree/new/echo-shell.service" "$tree/kept"
	sed -i '/^BindPaths/s/$/ \/nonexistent:\/x/' "$tree/new/echo-shell.service"
	run with_functions check_config
	cp "$tree/kept" "$tree/new/echo-shell.service"
	same 1 "$status"
	has "$output" "setup.sh: systemd may not mount here"
	has "$output" "security.nesting=true"
}

@test "the unit's exposure is at most 3.0 for systemd-analyze" {
	systemd-analyze security --help | grep -q -- --offline || skip "this systemd has no security --offline"
	systemd-analyze security --offline=yes --threshold=30 "$top/sshd_config.d/port-2022/echo-shell.service"
}
