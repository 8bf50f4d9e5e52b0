# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # a test sets $dir
# What any test needs.

top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
program=$top/echo-shell
prefix='echo: '
PATH=$PATH:/usr/sbin:/sbin
unset PREFIX DESTDIR # of make install
export top program prefix PATH

# Run a command every tenth of a second until it succeeds. Fail after 20 s.
wait_for() {
	local i

	for ((i = 0; i < 200; i++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	echo "waited 20 s in vain for: $*"
	return 1
}

# Compare what is expected and what came; show both where they differ.
assert_equal() {
	[ "$1" = "$2" ] && return
	printf 'expected: %s\ncame:     %s\n' "$1" "$2"
	return 1
}

# Find a part in a text; show both where it is not there.
assert_contains() {
	case $1 in *"$2"*) return 0 ;; esac
	printf 'not found: %s\nin:        %s\n' "$2" "$1"
	return 1
}

# Run a command that must fail.
refute() {
	if "$@"; then
		echo "should have failed: $*"
		return 1
	fi
}

# Print the answer of which this is the repr, but for its LF, which $(...) drops too.
answer() {
	printf '%s%s\r' "$prefix" "$1"
}

# Run the command after --, a talk that reads a table. Send it the table on stdin once
# the condition, the words before --, holds; from then on $dir/met is there.
talk_when() {
	local condition=() talk

	while [ "$1" != -- ]; do
		condition+=("$1")
		shift
	done
	shift
	mkfifo "$dir/table"
	"$@" <"$dir/table" >"$dir/talked" 2>&1 3>&- &
	talk=$!
	exec 9>"$dir/table"
	wait_for "${condition[@]}" || {
		cat "$dir/talked" "$dir/err" || :
		return 1
	}
	: >"$dir/met"
	cat >&9
	exec 9>&-
	wait "$talk" || {
		cat "$dir/talked"
		return 1
	}
	rm "$dir/table"
}
