# SPDX-License-Identifier: ISC
# shellcheck shell=bash disable=SC2154 # a test sets $dir
# What every test needs.

top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
program=$top/echo-shell
prefix='echo: '
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The seconds after which a test gives up waiting. It costs time only in a test that fails.
: "${LIMIT:=60}"
LC_ALL=C # messages of other programs are compared
unset PREFIX DESTDIR # of make install
export top program prefix PATH LIMIT LC_ALL
# A pipe that never has a byte: reading it with a limit is a sleep without a process.
exec {never}<> <(:)

# Wait some milliseconds.
pause() {
	local seconds

	printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
	read -rt "$seconds" -u "$never" || :
}

# Run a command again and again until it succeeds. Fail after $LIMIT seconds, and print
# what it said the last time.
wait_for() {
	local - end=$((SECONDS + LIMIT)) ms=10

	set +T # bats' DEBUG trap costs more than the rest
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS > end)); then
			echo "waited $LIMIT s in vain for: $*"
			"$@" || return 1
			return 0
		fi
		pause "$ms"
		ms=$((ms < 160 ? ms * 2 : 160))
	done
}

# Compare what is expected, $1, with what came, $2. Print both if they differ.
assert_equal() {
	[ "$1" = "$2" ] && return
	printf 'expected: %s\ncame:     %s\n' "$1" "$2"
	return 1
}

# Find the text $2 in $1. Print both if it is not there.
assert_contains() {
	[[ $1 == *"$2"* ]] && return
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

# Set $text to what is in the file $1, up to a NUL. Fail if that is nothing. ($(<FILE) would
# end the test if there is no such file.)
slurp() {
	text=
	{ IFS= read -rd '' text <"$1" || [ -n "$text" ]; } 2>/dev/null
}

# Return whether the file $1 holds the text $2.
holds() {
	local text

	slurp "$1" && [[ $text == *"$2"* ]]
}

# Run a line of shell with the functions of setup.sh; "$1" and so on are further arguments.
functions() {
	ECHO_SHELL_FUNCTIONS=yes sh -c '. "$1"; line=$2; shift 2; eval "$line"' sh "$top/setup.sh" "$@"
}

# Print the answer whose repr is $1, but for its LF, which $(...) drops too.
answer() {
	printf '%s%s\r' "$prefix" "$1"
}

# Run the command after --, a talk that reads a table. Send it the table on stdin once the
# condition, the words before --, holds; from then on $dir/met is there.
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
