#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What the checkout and the machine bring along: files, programs, compilers, packages.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Run setup.sh, in an environment, where these programs are missing, and what the words
# after -- do was done.
without() {
	local missing=()

	while [ "$1" != -- ]; do
		missing+=("/tmp/bin/$1")
		shift
	done
	in_machine unshare --mount sh -c 'missing=$0 && eval "$1" && shift && mkdir -p /tmp/all /tmp/bin && mount --bind /usr/bin /tmp/all &&
		ln -sf /tmp/all/* /tmp/bin && rm -f $missing && mount --bind /tmp/bin /usr/bin && exec env "$@" ./setup.sh' "${missing[*]}" "${2-:}" "${@:3}"
}

@test "what is missing is named at once where there is no apt-get: programs, and the C library's headers" {
	in_machine make -s clean
	tree >"$work/before"
	run without ssh cc make apt-get -- 'mount -t tmpfs tmpfs /usr/sbin'
	same 1 "$status"
	has "$output" "setup.sh: missing here: openssh-server openssh-client gcc libc6-dev make; install them, or run this as root where apt-get is"
	run without apt-get -- 'mount -t tmpfs tmpfs /usr/include'
	same 1 "$status"
	has "$output" "setup.sh: missing here: gcc libc6-dev make; install them"
	# An apt-get that fails leaves no sshd that cannot start.
	printf '#!/bin/sh\necho "E: no network" && exit 100\n' >"$work/bin/apt-get"
	chmod 755 "$work/bin/apt-get"
	run without ssh apt-get -- 'mount -t tmpfs tmpfs /usr/sbin' "$shims"
	same 1 "$status"
	same "E: no network" "$(tail -n 2 <<<"$output" | head -n 1)"
	has "$output" "setup.sh: cannot install openssh-server openssh-client gcc libc6-dev make: apt-get says above why"
	same_tree "$work/before"
}

@test "somebody else's apt-get is waited for" {
	cat >"$work/bin/apt-get" <<-END
		#!/bin/sh
		echo "\$*" >>"$work/apt"
		case "\$(grep -c update "$work/apt") \$*" in
		[12]" "*update) echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 77 (apt-get)"; exit 100 ;;
		*install*) ln -s /tmp/all/ssh /tmp/bin/ssh ;;
		esac
	END
	chmod 755 "$work/bin/apt-get"
	shim sleep '[ "$1" != 5 ] || set -- 0.1' # the test need not wait as long
	without ssh apt-get -- "" "$shims" >"$work/said"
	same 3 "$(grep -c update "$work/apt")"
	has "$(cat "$work/apt")" "DPkg::Lock::Timeout"
	has "$(cat "$work/said")" "echo-shell: installing openssh-client"
	grep -qx "\.*" "$work/said"
	has "$(cat "$work/said")" "  log in     ssh -p 2022"
}

@test "a program and a preload that do not run here are built anew; where that cannot be, one line says so" {
	for what in echo-shell sshd_config.d/port-2022/raw-pty.so; do
		printf '\177ELF\002\001\001' >"$work/project/$what"
		chmod 755 "$work/project/$what"
		setup_sh
		in_machine env LD_PRELOAD=./sshd_config.d/port-2022/raw-pty.so ./echo-shell </dev/null 2>&1 | cmp - /dev/null
	done
	printf '\177ELF\002\001\001' >"$work/project/echo-shell"
	run without cc apt-get --
	same 1 "$status"
	has "$output" "setup.sh: missing here: gcc libc6-dev make"
	# What runs needs no compiler.
	in_machine make -s clean all
	without cc make apt-get --
}

@test "a build that fails says why, and changes nothing" {
	in_machine make -s clean
	refuses "CC=no-such-cc is not here: install it, or unset CC" CC=no-such-cc
	in_machine sed -i 's/^main(int/nonsense &/' echo-shell.c
	run setup_sh
	same 1 "$status"
	has "$output" "error: "
	has "$output" "setup.sh: cannot build: see above"
}

@test "an empty environment, no descriptors, and any path of the checkout are enough" {
	in_machine cp -R . "$work/a b:c"
	in_machine chmod -R go= "$work/a b:c"
	there 'cd "$0" && umask 077 && make -s clean && env -i ./setup.sh' "$work/a b:c"
	there './setup.sh status <&- 2>&- >"$0"' "$work/said"
	has "$(cat "$work/said")" "  server     up"
	there './setup.sh <&- >/dev/null'
}

@test "each text file of the checkout has LF, whatever git is told" {
	grep -qx '\* text=auto eol=lf' "$top/.gitattributes"
	same "" "$(cd "$top" && grep -lr "$(printf '\r')" Makefile README setup.sh echo-shell.c sshd_config.d tests --include='*.bats' --include='*.sh' \
		--include='*.conf' --include='*.service' --include=Makefile --include=README --include=setup.sh || :)"
}
