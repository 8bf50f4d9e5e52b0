# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # bats sets $status and $output
#
# A test that needs root gets a machine of its own: mount, pid and network namespaces with
# the root file system read-only, and private copies of the folders that setup.sh writes
# to. Where that cannot be had, the test is skipped. It ends with the process that made it.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"
lib=/usr/local/lib/echo-shell
state=/etc/echo-shell
settings=$state/sshd_config.d
unset SUDO_USER PORT HOST_KEY PASSWORD CC # of whoever runs the tests
# Where files of all tests of a run are kept, or of one file.
kept=${KEPT:-$BATS_FILE_TMPDIR}
export lib state settings kept

# What the first process in the new namespaces does: it mounts, then reaps, as a first
# process must. $1 is the machine's folder, $2 the one with the files for its /etc. /etc is
# an overlay where there is one. "mount -a" would skip what the host has, by its name.
first_process='
	set -e
	read -r pid rest </proc/self/stat
	mount --bind "$1" "$1" # stays writable
	cd "$1"
	mount -t tmpfs -o size=64m,mode=755 machine over
	mkdir over/etc over/work over/bin over/lib over/log
	if ! mount -t overlay -o "lowerdir=/etc,upperdir=$1/over/etc,workdir=$1/over/work" machine /etc 2>/dev/null; then
		cp -a /etc/. over/etc
		mount --bind over/etc /etc
	fi
	for file in /etc/echo-shell /etc/ssh/sshd_config.d/* /etc/systemd/system/echo-shell* \
		/etc/systemd/system/multi-user.target.wants/echo-shell*; do
		[ ! -e "$file" ] || rm -rf "$file"
	done
	cp -a "$2/." /etc
	mount -o remount,bind,ro /
	mount -a -T "$1/fstab"
	echo 9 >/sys/class/net/lo/flags # up and loopback, without iproute2
	mkdir -p "$1" /run/sshd
	mount -c --bind /proc/self/cwd "$1" # back, from under /tmp
	sleep 1000000 &
	echo "$pid $!" >pid
	set +e
	while :; do wait; sleep 1; done
'

# Run a function if no test of this run has. It is run by one at a time.
once() {
	(flock 9; [ -e "$kept/$1.done" ] || { "$1" 9>&- && : >"$kept/$1.done"; }) 9>"$kept/lock"
}

# Make the files that differ in the machine's /etc: the distribution's sshd_config, no
# ordinary users, no echo server; and a wrong password does not cost two seconds.
make_etc() {
	local etc=$kept/etc file

	mkdir -p "$etc/ssh" "$etc/pam.d"
	for file in passwd group; do
		cp -p "/etc/$file" "$etc/"
		awk -F : '($3 < 1000 || $3 > 60000) && !/^demo:|echo-shell/' "/etc/$file" >"$etc/$file"
	done
	for file in shadow gshadow; do
		cp -p "/etc/$file" "$etc/" 2>/dev/null || continue
		awk -F : 'NR == FNR { known[$1]; next } $1 in known' \
			"$etc/$([ "$file" = shadow ] && echo passwd || echo group)" "/etc/$file" >"$etc/$file"
	done
	cp /usr/share/openssh/sshd_config "$etc/ssh/" 2>/dev/null || :
	[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f "$etc/ssh/ssh_host_ed25519_key"
	[ ! -e /etc/pam.d/common-auth ] || sed 's/pam_unix.so/& nodelay/' /etc/pam.d/common-auth >"$etc/pam.d/common-auth"
}

# Set $root to the machine's root, $proc to its /proc and $log to the server's log, as they
# are seen from outside.
enter() {
	root=/proc/$machine/root
	proc=$root/proc
	log=$root/var/log/echo-shell.log
}

# Make the machine, with a copy of the project in $work/project. Where that cannot be
# done, set $no_machine to the reason. $dir is where a test writes.
machine_up() {
	no_machine=
	export work dir machine keeper no_machine port PASS shims root proc log
	work=$(mktemp -d)
	dir=$work
	shims=PATH=$work/bin:$PATH
	if [ "$(id -u)" != 0 ]; then
		no_machine="needs root"
		return
	fi
	# 12, 19 and 21: the bits of NET_ADMIN, SYS_PTRACE and SYS_ADMIN.
	if (((0x$(sed -n 's/^CapEff:.//p' /proc/self/status) & 0x281000) != 0x281000)); then
		no_machine="needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_SYS_PTRACE"
		return
	fi
	chmod 755 "$work"
	mkdir "$work/over" "$work/project" "$work/bin" "$work/from"
	: >"$work/clients"
	cat >"$work/fstab" <<-END
		$work/over/bin /usr/local/bin none bind
		$work/over/lib /usr/local/lib none bind
		$work/over/log /var/log none bind
		machine /var/lib tmpfs size=64m,mode=755
		machine /run tmpfs mode=755
		machine /proc proc
		machine /sys sysfs
		machine /tmp tmpfs mode=1777
	END
	once make_etc
	# unshare ends with us, and the machine with unshare.
	setpriv --pdeathsig KILL unshare --mount --pid --net --fork --kill-child \
		sh -c "$first_process" sh "$work" "$kept/etc" </dev/null >"$work/unshare" 2>&1 3>&- &
	disown # or bash reports its end
	cp -a "$top"/[!.]* "$work/project/"
	until [ -s "$work/pid" ]; do
		if ! kill -0 "$!" 2>/dev/null; then
			no_machine="needs mounts and namespaces: $(tail -n 1 "$work/unshare")"
			return
		fi
		pause 10
	done
	read -r machine keeper <"$work/pid"
	enter
}

need_machine() {
	[ -z "$no_machine" ] || skip "$no_machine"
}

# End the machine and all that runs in it.
machine_down() {
	[ -z "$machine" ] || kill -KILL "$machine" 2>/dev/null || :
	rm -rf "$work"
}

# Run a command in the machine, in the copy of the project.
in_machine() {
	there 'exec "$@"' sh "$@"
}

# The same for a line of shell; "$0" and so on are further arguments.
there() {
	nsenter -t "$machine" -m -p -n sh -c "cd $work/project && $1" "${@:2}" 3>&-
}

setup_sh() {
	in_machine ./setup.sh "$@"
}

# Run setup.sh with arguments $3 and so on. It must end with status $1 and print $2.
says() {
	run setup_sh "${@:3}"
	assert_equal "status $1" "status $status"
	assert_contains "$output" "$2"
}

# Run setup.sh with the environment $2 and so on. It must refuse: its last line says $1, no
# other line is its own, and all that it may write to is as before.
refuses() {
	tree >"$work/tree.refuses"
	run in_machine env "${@:2}" ./setup.sh
	[ "$status" != 0 ]
	assert_contains "${lines[-1]}" "setup.sh: $1"
	assert_equal 1 "$(grep -c '^setup.sh: ' <<<"$output")"
	same_tree "$work/tree.refuses"
}

# Print what is in the folders that setup.sh may write to, with checksums; but for the
# account tools' own backups, records of logins, and logs.
tree() {
	(cd "$root" && find etc usr/local/bin usr/local/lib var/log var/lib ! -name '*-' ! -name '[bw]tmp*' ! -name utmp \
		! -name lastlog ! -name '*.log' -printf '%M %U %G %p\n' -type f -exec cksum {} +) | sort -k 4
}

# Compare with a tree that was kept in the file $1. Print where they begin to differ.
same_tree() {
	tree >"$work/tree.now"
	cmp -s "$1" "$work/tree.now" || {
		diff "$1" "$work/tree.now" | head -n 20
		return 1
	}
}

# Find all lines, $2 and so on, in the file $1.
lines_in() {
	local line

	for line in "${@:2}"; do
		[[ $'\n'$(<"$1")$'\n' == *$'\n'"$line"$'\n'* ]] || assert_contains "$(<"$1")" "the line $line"
	done
}

# Put a program before the one with its name: it does what a line of shell says, with "$@",
# and then becomes the real one. A command finds it with $shims as PATH.
shim() {
	printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$2" "$(command -v "$1")" >"$work/bin/$1"
	chmod 755 "$work/bin/$1"
}

# Start an sshd that is not the server, with options $2 and so on. Wait for its pid in
# /run/$1.pid; its log is /run/$1.log.
other_sshd() {
	there 'exec "$(command -v sshd)" -E "/run/$0.log" -o "PidFile=/run/$0.pid" "$@"' "$@"
	wait_for [ -s "$root/run/$1.pid" ]
}

# Print the pid of the server, in the machine.
server_pid() {
	local text

	slurp "$root/run/echo-shell/sshd.pid" || return 0
	echo "${text%?}"
}

# Return whether somebody listens on the port $1 of the machine.
listening() {
	local hex text file

	printf -v hex ':%04X ' "$1"
	for file in "/proc/$machine/net/tcp"*; do
		slurp "$file" && [[ $text =~ ${hex}[0-9A-F:]+\ 0A ]] && return
	done
	return 1
}

# End a process of the machine, and wait until it has ended.
end_process() {
	in_machine kill "$1"
	wait_for [ ! -e "$proc/$1" ]
}

# Print field $2 of /proc/PID/status, where $1 is PID.
status_of() {
	local name value

	while read -r name value; do
		[ "$name" != "$2:" ] || echo "${value%%[[:space:]]*}"
	done <"$proc/$1/status"
}

# Show the logs if the test failed. Kill the clients that it left.
end_test() {
	local pid pids=()

	[ -z "$no_machine" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || tail -n 15 "$log" "$root"/run/*.log 2>/dev/null || :
	while read -r pid; do
		[ ! -e "$proc/$pid" ] || pids+=("$pid")
	done <"$dir/clients"
	: >"$dir/clients"
	[ ${#pids[@]} = 0 ] || there 'kill -KILL "$0" "$@" 2>/dev/null || :' "${pids[@]}"
}
