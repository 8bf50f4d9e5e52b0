# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # bats sets $status and $output
#
# A test that needs root gets a machine of its own: private mount, pid and network
# namespaces, the root file system read-only, and copies of what setup.sh writes to.
# Where that cannot be done, the test skips.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"
base=/var/lib/echo-shell
admin=/etc/echo-shell
unset SUDO_USER PORT HOST_KEY PASSWORD CC # of whoever runs the tests
export base admin

# What the first process of the new namespaces does: copies in place of what setup.sh
# writes to, with the distribution's sshd_config, and without the ordinary users and the
# echo server of the host; then it reaps, as a first process must. $1 is the test's folder.
first_process='
	set -e
	read -r pid rest </proc/self/stat
	mount --bind "$1" "$1" # stays writable
	mount -t tmpfs -o size=64m,mode=755 tmpfs "$1/over"
	mkdir "$1/over/bin" "$1/over/log"
	cp -a /etc "$1/over/etc"
	cd "$1/over/etc"
	rm -rf echo-shell ssh/sshd_config.d/* systemd/system/echo-shell*
	[ ! -e /usr/share/openssh/sshd_config ] || cp /usr/share/openssh/sshd_config ssh/sshd_config
	[ -e ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f ssh/ssh_host_ed25519_key
	# A wrong password is not to cost two seconds.
	[ ! -e pam.d/common-auth ] || sed -i "s/pam_unix.so/& nodelay/" pam.d/common-auth
	for file in passwd group; do
		cp "$file" "$file-"
		awk -F : "(\$3 < 1000 || \$3 > 60000) && !/^demo:|echo-shell/" "$file-" >"$file"
	done
	cd /
	mount -o remount,bind,ro /
	mount --bind "$1/over/etc" /etc
	pwconv
	grpconv
	mount --bind "$1/over/bin" /usr/local/bin
	mount --bind "$1/over/log" /var/log
	mount -t tmpfs -o size=64m,mode=755 tmpfs /var/lib
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	echo 9 >/sys/class/net/lo/flags # up and loopback, without iproute2
	mkdir /run/work /run/sshd
	mount --rbind "$1" /run/work
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mkdir -p "$1"
	mount --rbind /run/work "$1"
	umount -l /run/work
	rmdir /run/work
	echo "$pid" >"$1/pid.new"
	mv "$1/pid.new" "$1/pid"
	set +e
	while :; do sleep 10000 & wait; done
'

# Make the machine, with a copy of the project in $work/project. Where that cannot be
# done, leave the reason in $no_machine, for need_machine.
machine_up() {
	no_machine=
	export work dir machine no_machine port PASS shims
	if [ "$(id -u)" != 0 ]; then
		no_machine="needs root: sudo ./setup.sh test"
		return
	fi
	work=$(mktemp -d)
	dir=$work
	shims=PATH=$work/bin:$PATH
	chmod 755 "$work"
	mkdir "$work/over" "$work/project" "$work/bin"
	: >"$work/clients"
	# A small table of connections, where the kernel can: to read /proc/net/tcp, it goes
	# through all of the table.
	unshare --net sh -c 'echo 1024 2>/dev/null >/proc/sys/net/ipv4/tcp_child_ehash_entries
		exec unshare --mount --pid --net --fork sh -c "$@"' sh "$first_process" sh "$work" >"$work/unshare" 2>&1 3>&- &
	disown # or bash tells of its end
	until [ -e "$work/pid" ]; do
		if ! kill -0 "$!" 2>/dev/null; then
			no_machine="no namespaces here ($(tail -n 1 "$work/unshare"))"
			return
		fi
		sleep 0.02
	done
	machine=$(cat "$work/pid")
	(cd "$top" && tar -cf - --exclude=.git .) | tar -C "$work/project" -xf -
}

need_machine() {
	[ -z "$no_machine" ] || skip "$no_machine"
}

# End the machine and all that runs in it.
machine_down() {
	[ -z "$no_machine" ] || return 0
	kill -KILL "$machine"
	rm -rf "$work"
}

# Run a command in the machine, in the copy of the project.
in_machine() {
	nsenter -t "$machine" -m -p -n sh -c 'cd "$0" && exec "$@"' "$work/project" "$@" 3>&-
}

# The same for a line of shell.
there() {
	in_machine sh -c "$@"
}

setup_sh() {
	in_machine ./setup.sh "$@"
}

# Run setup.sh with arguments, which must end with a status and say a text.
says() {
	run setup_sh "${@:3}"
	same "1: $1" "1: $status"
	has "$output" "$2"
}

# Run setup.sh in an environment, which it must refuse. Its last line has $1, it says no
# other line of its own, and all that it may write to is as before.
refuses() {
	tree >"$work/tree.refuses"
	run in_machine env "${@:2}" ./setup.sh
	[ "$status" != 0 ]
	has "$(tail -n 1 <<<"$output")" "setup.sh: $1"
	same 1 "$(grep -c '^setup.sh: ' <<<"$output")"
	same_tree "$work/tree.refuses"
}

# Print what is in the folders that setup.sh may write to, with checksums; but for the
# account tools' own backups, records of logins, and what sshd writes.
tree() {
	there 'cd / && find etc usr/local/bin var/log var/lib ! -name "*-" ! -name "[bw]tmp*" ! -name utmp \
			! -name lastlog ! -name "*.log" -printf "%M %U %G %p\n"
		find etc usr/local/bin var/lib -type f ! -name "*-" ! -name utmp -exec cksum {} +' | sort -k 4
}

# See that nothing differs from a tree that was kept in a file; else show where it begins.
same_tree() {
	tree >"$work/tree.now"
	cmp -s "$1" "$work/tree.now" || {
		diff "$1" "$work/tree.now" | head -n 20
		return 1
	}
}

# See that these lines, each of which an argument gives, are in a file.
lines_in() {
	local line

	for line in "${@:2}"; do
		grep -qxF -e "$line" "$1" || has "$(cat "$1")" "$line"
	done
}

# Put a program before the one of its name: it does what a line of shell says, with "$@",
# and then becomes the real one. What runs with $shims as PATH finds it.
shim() {
	printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$2" "$(command -v "$1")" >"$work/bin/$1"
	chmod 755 "$work/bin/$1"
}

# Start an sshd that is not the server, with options; wait for its pid in /run/$1.pid.
other_sshd() {
	there 'exec "$(command -v sshd)" -E "/run/$0.log" -o "PidFile=/run/$0.pid" "$@"' "$@"
	wait_for in_machine test -s "/run/$1.pid"
}

# Print the pid of the server.
server_pid() {
	in_machine cat /run/echo-shell.pid
}

# End a process of the machine, and wait until it has ended.
end_process() {
	in_machine kill "$1"
	wait_for fails in_machine test -e "/proc/$1"
}

# Show the logs after a failure, and kill the clients that a test left. It is a teardown.
end_test() {
	local pid

	[ -z "$no_machine" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || there 'tail -n 15 /var/log/echo-shell.log /run/*.log' 2>/dev/null || :
	while read -r pid; do
		in_machine kill -KILL "$pid" 2>/dev/null || :
	done <"$dir/clients"
}
