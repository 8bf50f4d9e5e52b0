#!/bin/sh
# SPDX-License-Identifier: ISC
#
#   make lint          shellcheck, and the compilers that are here with all warnings
#   make analyze       each analyser and sanitizer that is here; none may find anything
#   make fuzz FUZZ=n   repr with n inputs, under sanitizers: by clang's libFuzzer, or
#                      where there is none with random inputs only

set -eu
cd "$(dirname "$0")/.."
sanitize='-std=c17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -DNO_SANDBOX'
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

# Build with a compiler and the sanitizers; fail where it has none.
sanitized() {
	# shellcheck disable=SC2086 # a list of words
	command -v "$1" >/dev/null && "$1" $sanitize -o "$built" "$2" ${3-} ${4-} 2>/dev/null
}

case ${1-analyze} in
lint)
	shellcheck -x setup.sh .ci/run tests/run tests/*.sh
	shellcheck -x -S warning tests/*.bash tests/*.bats # notes: '$x' is meant for another shell
	warnings=$(sed -n 's/^WARN = //p' Makefile)
	for cc in $(for name in "${CC:-cc}" gcc clang; do readlink -f "$(command -v "$name")"; done | sort -u); do
		# shellcheck disable=SC2086 # a list of words
		"$cc" $warnings -Werror -fsyntax-only ./*.c tests/*.c
	done
	;;
fuzz)
	: "${FUZZ:=20000000}"
	if sanitized clang tests/fuzz.c -fsanitize=fuzzer -DLIBFUZZER; then
		"$built" -seed=2022 -runs="$FUZZ" -max_len=300 -artifact_prefix=tests/ -verbosity=0 -print_final_stats=1
	else
		sanitized "${CC:-cc}" tests/fuzz.c || {
			echo "fuzz: ${CC:-cc} has no sanitizers here: install gcc's or clang's" >&2
			exit 1
		}
		"$built" "$FUZZ"
	fi
	;;
analyze)
	for file in *.c tests/*.c; do
		run gcc -std=c17 -O2 -fanalyzer -Werror -c -o /dev/null "$file"
	done
	run clang-tidy --quiet --warnings-as-errors='*' \
		-checks='clang-analyzer-*,bugprone-*,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-implicit-widening*,-bugprone-easily-swappable*,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' \
		echo-shell.c -- -std=c17
	run cppcheck -q --error-exitcode=1 --enable=warning,portability,performance --std=c11 echo-shell.c tests/*.c
	for cc in gcc clang; do
		if sanitized "$cc" echo-shell.c; then
			echo "$cc $sanitize"
			for mode in table pairs sizes random; do
				tests/talk -s "$mode" "$built" <tests/python2-repr.tsv
			done
		else
			echo "$cc's sanitizers are not here"
		fi
	done
	"${CC:-cc}" -std=c17 -g -DNO_SANDBOX -o "$built" echo-shell.c
	run valgrind -q --error-exitcode=9 "$built" <tests/python2-repr.tsv >/dev/null
	;;
esac
