#!/bin/sh
# SPDX-License-Identifier: ISC
#
#   make lint          shellcheck, and the compilers that are here with all warnings
#   make analyze       each analyser and sanitizer that is here; none may find anything

set -eu
cd "$(dirname "$0")/.."
sanitize='-std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all'
checks='clang-analyzer-*,bugprone-*,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-implicit-widening*,-bugprone-easily-swappable*,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling'
built=$(mktemp)
trap 'rm -f "$built"' EXIT
trap 'exit 130' INT TERM

# Run an analyser if it is here.
run() {
	if command -v "$1" >/dev/null; then
		echo "$*"
		"$@"
	else
		echo "$1 is not here"
	fi
}

# Build the program without its sandbox: sanitizers and valgrind make system calls too.
unsandboxed() {
	printf '%s\n' '#include <sys/prctl.h>' '#define prctl(...) 0' '#include "echo-shell.c"' |
		"$@" -x c -I. -o "$built" -
}

sources=$(echo ./*.c sshd_config.d/server/*.c)
# shellcheck disable=SC2086 # $sanitize, $sources and $warnings are lists of words
case ${1-analyze} in
lint)
	shellcheck -x setup.sh .ci/run sshd_config.d/server/start sshd_config.d/server/askpass tests/run tests/*.sh
	shellcheck -x -S warning tests/*.bash tests/*.bats # notes: '$x' is meant for another shell
	warnings=$(sed -n 's/^WARN = //p' Makefile)
	for cc in $(for name in "${CC:-cc}" gcc clang; do readlink -f "$(command -v "$name")"; done | sort -u); do
		"$cc" $warnings -Werror -fsyntax-only $sources tests/*.c
	done
	;;
analyze)
	for file in $sources tests/*.c; do
		run gcc -std=c17 -O2 -fanalyzer -Werror -c -o /dev/null "$file"
	done
	run clang-tidy --quiet --warnings-as-errors='*' -checks="$checks" $sources -- -std=c17
	run cppcheck -q --error-exitcode=1 --enable=warning,portability,performance --std=c11 $sources tests/*.c
	for cc in gcc clang; do
		echo "$cc $sanitize"
		unsandboxed "$cc" $sanitize 2>/dev/null || { echo "are not here"; continue; }
		for mode in table pairs sizes random; do
			tests/talk -s "$mode" "$built" <tests/python2-repr.tsv
		done
	done
	unsandboxed "${CC:-cc}" -g
	run valgrind -q --error-exitcode=9 "$built" <tests/python2-repr.tsv >/dev/null
	;;
esac
