#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What make and setup.sh do with the files of a checkout, compilers and packages. The tests
# of the first half need neither root nor a machine.

# shellcheck disable=SC2034 # client.bash reads it
each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

setup() {
	work=$(mktemp -d)
	machine='' no_machine="none was asked for"
}

# Make a copy of the checkout in $work/project, and go there.
copy() {
	mkdir "$work/project"
	cp -a "$top"/[!.]* "$work/project/"
	cd "$work/project" || return
}

# Print what make has put into $work/dest: the mode and the path of each file and folder.
dest() {
	(cd "$work/dest" && find . -mindepth 1 -printf '%m %P\n') | sort -k 2
}

# Print the modes and paths that dest prints for folders, then for files. $1 are files, each
# with its mode; the folders that they are in are of mode 755.
expected() {
	{
		printf '%s\n' "$1"
		sed 's/.* //' <<<"$1" | while IFS=/ read -ra parts; do
			for ((i = 1; i < ${#parts[@]}; i++)); do
				(IFS=/ && echo "755 ${parts[*]:0:i}")
			done
		done
	} | sort -uk 2
}

@test "make install-server puts each file where a packager says, with its mode, and its paths into the files" {
	cd "$top"
	umask 077
	make -s install-server DESTDIR="$work/dest" PREFIX=/opt/e LIBDIR=/opt/e/libexec UNITDIR=/usr/lib/systemd/system
	assert_equal "$(expected "755 opt/e/bin/echo-shell
755 opt/e/libexec/echo-shell/askpass
644 opt/e/libexec/echo-shell/banner
644 opt/e/libexec/echo-shell/environment
755 opt/e/libexec/echo-shell/mkshadow
755 opt/e/libexec/echo-shell/raw-pty.so
644 opt/e/libexec/echo-shell/sshd_config
644 opt/e/libexec/echo-shell/start
644 usr/lib/systemd/system/echo-shell.service")" "$(dest)"
	cd "$work/dest/opt/e/libexec/echo-shell"
	lines_in sshd_config "ForceCommand exec /opt/e/bin/echo-shell" "Banner /opt/e/libexec/echo-shell/banner"
	lines_in environment "LD_PRELOAD=/opt/e/libexec/echo-shell/raw-pty.so"
	lines_in start ". /opt/e/libexec/echo-shell/environment" \
		'exec /usr/sbin/sshd -f /opt/e/libexec/echo-shell/sshd_config -e "$@"'
	lines_in "$work/dest/usr/lib/systemd/system/echo-shell.service" \
		"Description=echo-shell $(sed -n 's/^VERSION = //p' "$top/Makefile"), SSH echo server" \
		"EnvironmentFile=/opt/e/libexec/echo-shell/environment" \
		"ExecStart=/usr/sbin/sshd -f /opt/e/libexec/echo-shell/sshd_config -e -D" \
		"BindReadOnlyPaths=/opt/e/bin /opt/e/libexec/echo-shell"
	assert_equal "" "$(grep -rI /usr/local/ "$work/dest" || :)"
}

@test "make install puts the program and the drop-in's file; each uninstall leaves the program to the other" {
	local drop_in=(BINDIR=/b DATADIR=/d DESTDIR="$work/dest") server=(BINDIR=/b DESTDIR="$work/dest")

	cd "$top"
	umask 077
	make -s install "${drop_in[@]}"
	assert_equal "$(expected "755 b/echo-shell
644 d/echo-shell/echo-shell.conf")" "$(dest)"
	lines_in "$work/dest/d/echo-shell/echo-shell.conf" $'\tForceCommand exec /b/echo-shell'
	make -s install-server "${server[@]}"
	make -s uninstall "${drop_in[@]}"
	[ -e "$work/dest/b/echo-shell" ]
	[ ! -e "$work/dest/d/echo-shell" ]
	make -s install "${drop_in[@]}"
	make -s uninstall-server "${server[@]}" DATADIR=/d
	assert_equal "b/echo-shell d/echo-shell/echo-shell.conf" "$(cd "$work/dest" && find . -type f -printf '%P\n' | sort | paste -s -d ' ')"
	make -s uninstall "${drop_in[@]}"
	make -s install-server "${server[@]}"
	make -s uninstall-server "${server[@]}"
	assert_equal "" "$(cd "$work/dest" && find . -type f)"
}

@test "a packager's CPPFLAGS, CFLAGS and LDFLAGS are taken without a warning, and a static program runs" {
	copy
	make clean all CPPFLAGS=-D_FORTIFY_SOURCE=3 CFLAGS='-O2 -g' LDFLAGS=-Wl,--as-needed >"$work/said" 2>&1
	refute grep -i -e warning -e redefined -e error: "$work/said"
	assert_equal 3 "$(grep -c 'FORTIFY_SOURCE=3 .* -Wl,--as-needed' "$work/said")"
	assert_equal sshd_config.d/server/raw-pty.so "$(sed -n 's/.* -o \([^ ]*\).* -ldl.*/\1/p' "$work/said")"
	make -s clean all LDFLAGS=-static
	for static in echo-shell sshd_config.d/server/mkshadow; do
		refute grep INTERP <<<"$(readelf -lW "$static")"
	done
	functions 'runs_here ./echo-shell sshd_config.d/server'
}

@test "setup.sh --help and --version need no root; what is no command is refused" {
	copy
	run ./setup.sh --help
	assert_equal "0 ./setup.sh                      install, start and try the server, with guest demo" "$status ${lines[0]}"
	assert_contains "$output" "In the environment: PORT=n, HOST_KEY=file, PASSWORD=word (demo's)"
	for command in run add-user remove-user status uninstall test; do
		assert_contains "$output" "./setup.sh $command"
	done
	assert_equal "echo-shell $(sed -n 's/^VERSION = //p' Makefile)" "$(./setup.sh --version)"
	for words in install "run now" "status x" "uninstall -f"; do
		# shellcheck disable=SC2086 # words
		run ./setup.sh $words
		assert_equal "1 setup.sh: no such command: $words; see ./setup.sh --help" "$status $output"
	done
	for words in add-user remove-user; do
		run ./setup.sh "$words"
		assert_equal "1 setup.sh: $words wants names; see ./setup.sh --help" "$status $output"
	done
}

@test "each text file of the checkout has LF, whatever git is told" {
	cd "$top"
	grep -qx '\* text=auto eol=lf' .gitattributes
	assert_equal "" "$(grep -lrI "$(printf '\r')" Makefile README setup.sh echo-shell.c sshd_config.d tests || :)"
}

# The tests from here on have a machine. This is what setup.sh does for packages and for the
# product, without the server.
get_all='ECHO_SHELL_FUNCTIONS=yes; . ./setup.sh; command=; acquire_lock; find_isolation; get_all'

with_machine() {
	rm -rf "$work"
	machine_up
	need_machine
	in_machine mount -t tmpfs -o mode=755 machine /usr/local/share
}

# Run a line of shell where the programs before -- are missing, after the line $1 behind it
# (mounts, for the test).
without() {
	local missing=()

	while [ "$1" != -- ]; do
		missing+=("/tmp/bin/$1")
		shift
	done
	in_machine unshare --mount sh -ec 'mkdir -p /tmp/all /tmp/bin && mount --bind /usr/bin /tmp/all
		ln -sf /tmp/all/* /tmp/bin && rm -f $1 && mount --bind /tmp/bin /usr/bin
		eval "$2" && eval "$3"' sh "${missing[*]}" "$2" "$3"
}

# Make an apt-get that says what it was asked for to $work/apt, and then does a line of shell.
apt_get() {
	printf '#!/bin/sh\necho "$*" >>"%s"\n%s\n' "$work/apt" "$1" >"$work/bin/apt-get"
	chmod 755 "$work/bin/apt-get"
}

@test "what is missing is named at once where there is no apt-get: programs, and the C library's headers" {
	with_machine
	in_machine make -s clean
	tree >"$work/before"
	run without ssh cc make apt-get -- 'mount -t tmpfs tmpfs /usr/sbin' ./setup.sh
	assert_equal 1 "$status"
	assert_contains "$output" "setup.sh: missing here: openssh-server openssh-client make gcc libc6-dev libcrypt-dev; install them, or run this as root where apt-get is"
	run without apt-get -- 'mount -t tmpfs tmpfs /usr/include' "$get_all"
	assert_equal "1 setup.sh: missing here: gcc libc6-dev libcrypt-dev; install them, or run this as root where apt-get is" "$status $output"
	run without shellcheck cc -- true 'setpriv --reuid=65534 ./setup.sh test'
	assert_equal "1 setup.sh: missing here: shellcheck gcc libc6-dev libcrypt-dev; install them, or run this as root where apt-get is" "${status} ${output/: bats/:}"
	same_tree "$work/before"
}

@test "an apt-get that fails leaves nothing; one that was cut off leaves Debian's own sshd disabled, not shut out" {
	local no_start=etc/ssh/sshd_not_to_be_run

	with_machine
	tree >"$work/before"
	apt_get 'echo "E: no network"; exit 100'
	run without ssh -- 'mount -t tmpfs tmpfs /usr/sbin' "$shims ./setup.sh"
	assert_equal 1 "$status"
	assert_contains "$output" $'E: no network\nsetup.sh: apt-get cannot install openssh-server openssh-client: see above'
	same_tree "$work/before"
	# It is killed, with setup.sh, while sshd is not there yet.
	printf '#!/bin/sh\necho "$*" >>"%s/systemctl"\n' "$work" >"$work/bin/systemctl"
	chmod 755 "$work/bin/systemctl"
	apt_get 'case $* in *install*) kill -KILL "$PPID" ;; esac'
	run without -- 'mount -t tmpfs tmpfs /usr/sbin' "$shims; ($get_all)"
	assert_equal 137 "$status"
	[ -e "$root/$no_start" ]
	# Somebody's apt-get completes it; the next command of ours, whichever, sees to the rest.
	in_machine env "$shims" ./setup.sh uninstall
	lines_in "$work/systemctl" "-q disable ssh.service ssh.socket"
	same_tree "$work/before"
	# The same where nothing goes wrong: it is off while apt-get installs.
	rm "$work/systemctl"
	apt_get "case \$* in *install*) umount /usr/sbin && cp '/$no_start' '$work/switch' ;; esac"
	without -- 'mount -t tmpfs tmpfs /usr/sbin' "$shims; $get_all"
	lines_in "$work/systemctl" "-q disable ssh.service ssh.socket"
	[ -e "$work/switch" ]
	[ ! -e "$root/$no_start" ]
	# One that is the administrator's own stays.
	echo mine >"$root/$no_start"
	without -- 'mount -t tmpfs tmpfs /usr/sbin' "$shims; $get_all"
	lines_in "$root/$no_start" mine
}

@test "somebody else's apt-get is waited for" {
	with_machine
	apt_get "case \$(grep -c update '$work/apt') in 1 | 2)
		echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 77 (apt-get)' && exit 100 ;;
	esac"
	shim sleep '[ "$1" != 5 ] || set -- 0.1' # the test need not wait as long
	without ssh -- true "$shims; $get_all" >"$work/said"
	assert_equal 3 "$(grep -c update "$work/apt")"
	assert_contains "$(<"$work/apt")" "DPkg::Lock::Timeout=600"
	assert_contains "$(<"$work/said")" "echo-shell: installing openssh-client"
}

@test "a program, preload or mkshadow that does not run here is built anew; what runs needs no compiler" {
	with_machine
	for what in echo-shell sshd_config.d/server/raw-pty.so sshd_config.d/server/mkshadow; do
		printf '\177ELF\002\001\001' >"$work/project/$what"
		there "$get_all"
		assert_equal "$(answer "'x'")" "$(there 'env LD_PRELOAD="$0/raw-pty.so" "$0/mkshadow" </dev/null 2>&1; printf x | echo-shell' "$lib")"
	done
	without cc apt-get -- true "$get_all"
	printf '\177ELF\002\001\001' >"$work/project/echo-shell"
	run without cc apt-get -- true "$get_all"
	assert_contains "$output" "setup.sh: missing here: gcc libc6-dev libcrypt-dev; install them"
	# Without make or sources the product that is there is taken.
	without cc make apt-get -- true "$get_all"
	mkdir "$work/alone"
	cp "$top/setup.sh" "$work/alone/"
	there "cd $work/alone; $get_all"
	rm "$root$lib/raw-pty.so"
	run there "cd $work/alone; exec ./setup.sh"
	assert_equal 1 "$status"
	assert_contains "$output" "setup.sh: nothing to install: no product in /usr/local runs here, and no source"
}

@test "a make that fails for another reason than a compiler that is missing says why, and asks no apt-get" {
	with_machine
	apt_get :
	run without -- 'mount --bind /usr/local/bin /mnt && mount -o remount,bind,ro /usr/local/bin' "$shims; $get_all"
	assert_equal 1 "$status"
	assert_contains "$output" "Read-only file system"
	assert_contains "$output" "setup.sh: cannot install the product: see above"
	in_machine sed -i 's/^main(int/nonsense &/' echo-shell.c
	run there "$shims; $get_all"
	assert_equal 1 "$status"
	assert_contains "$output" "error: "
	assert_contains "$output" "setup.sh: cannot build: see above"
	[ ! -e "$work/apt" ]
}

@test "an empty environment, no descriptors, any path of the checkout and a CC of two words are enough" {
	with_machine
	in_machine cp -R . "$work/a b:c"
	in_machine chmod -R go= "$work/a b:c"
	there 'cd "$0" && umask 077 && make -s clean && env -i CC="env cc" ./setup.sh' "$work/a b:c"
	there './setup.sh status <&- 2>&- >"$0"' "$work/said"
	assert_contains "$(<"$work/said")" "  server     up"
	there './setup.sh <&- >/dev/null'
	refute there './setup.sh <&- >&- 2>&-'
	setup_sh status
}
