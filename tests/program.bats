#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The program by itself: no root, no sshd.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	exec </dev/null
	dir=$(mktemp -d)
	unset SSH_ORIGINAL_COMMAND SSH_CONNECTION SSH_TTY
}

teardown() {
	rm -rf "$dir"
}

@test "each of the 628 answers is what Python 2.7 printed" {
	assert_equal 628 "$(wc -l <"$top/tests/python2-repr.tsv")"
	"$top/tests/talk" -s table "$program" <"$top/tests/python2-repr.tsv"
}

@test "all pairs of bytes, chunks around every boundary and random ones come back, each in one line and one write" {
	for mode in pairs sizes random; do
		"$top/tests/talk" -s "$mode" "$program"
		"$top/tests/talk" -u "$mode" "$program"
	done
}

@test "as a login shell and for a ForceCommand that names it, it serves" {
	for command in echo-shell /usr/local/bin/echo-shell 'exec /usr/local/bin/echo-shell'; do
		assert_equal "$(answer "'x'")" "$(printf x | "$program" -c "$command")"
	done
	assert_equal "$(answer "'x'")" "$(printf x | bash -c 'exec -a -echo-shell "$0"' "$program")"
}

@test "a command is refused, quoted in one line, and never run" {
	cd "$dir"
	for command in ls 'touch ran' 'echo-shell; touch ran' '/echo-shell; touch ran' \
		'$(touch ran)' ./echo-shell2 /x/echo-shell/ ''; do
		run "$program" -c "$command"
		assert_equal "1 echo-shell: refused '$command': this account only echoes; run ssh without a command" "$status $output"
	done
	assert_equal "" "$(ls)"
}

@test "a refused command that is longer than a read is cut" {
	run "$program" -c "$(head -c 100000 /dev/zero | tr '\0' '\1')"
	assert_equal "1 $((65536 * 4 + 2 + 20 + 53))" "$status ${#output}"
}

@test "a refusal at a terminal ends in CR LF: the terminal may be raw" {
	run script -qec "stty -opost; '$program' -c ls" /dev/null
	assert_contains "$output" $'ssh without a command\r'
}

@test "SSH_ORIGINAL_COMMAND is refused, whatever -c says, where sshd started it and not where it is inherited" {
	export SSH_ORIGINAL_COMMAND=$'scp -t \e[2J\'"\n'
	run setsid -w "$program" -c 'exec /usr/local/bin/echo-shell'
	assert_equal "1 echo-shell: refused 'scp -t \\x1b[2J\\'\"\\n': this account only echoes; run ssh without a command" "$status $output"
	assert_equal "$(answer "'x'")" "$(printf x | "$program")"
	for SSH_ORIGINAL_COMMAND in '' echo-shell; do
		run setsid -w "$program" -c ls
		assert_contains "$output" "echo-shell: refused '$SSH_ORIGINAL_COMMAND'"
	done
}

@test "anything else on the command line is a usage error" {
	for arguments in -x 'a b' '-c' '-c a b' '-x echo-shell'; do
		# shellcheck disable=SC2086 # words
		run "$program" $arguments
		assert_equal "2 echo-shell: usage: echo-shell [-c command]" "$status $output"
	done
}

@test "an input or output that fails is status 1 without a word; a closed stderr is none" {
	run "$program" <"$dir"
	assert_equal "1 " "$status $output"
	for failing in '<&-' '>&-' '>/dev/full'; do
		run timeout 20 bash -c "echo x | \"\$0\" $failing" "$program" # bats's own shell would take the number again
		assert_equal "1 " "$status $output"
	done
	assert_equal "$(answer "'x'")" "$(printf x | bash -c '"$0" 2>&-' "$program")"
	run bash -c '"$0" -c ls 2>&-' "$program"
	assert_equal "1 " "$status $output"
}

@test "a reader that takes a byte at a time gets every byte" {
	head -c 20000 /dev/urandom >"$dir/in"
	"$program" <"$dir/in" >"$dir/out"
	"$program" <"$dir/in" | dd bs=1 status=none | cmp - "$dir/out"
}

@test "a reader that is gone ends it" {
	run timeout 20 bash -c 'while echo x; do :; done 2>/dev/null | { "$0"; echo $? >&2; } | read -r' "$program"
	case $output in
	141 | 1) ;; # by SIGPIPE, or by EPIPE where SIGPIPE is ignored
	*) assert_equal 141 "$output" ;;
	esac
}

@test "the sandbox kills all but reading 0, writing 1 and 2, and ending, in a container too" {
	"$top/tests/sandbox"
}

# Run a line of shell, to which "$1" is the program and "$2" the test's folder, on a pty.
# Talk by the table on stdin, from when the pty is raw.
at_terminal() {
	talk_when raw -- "$top/tests/talk" -p table sh -c "tty >\"\$2/tty\"; $1" sh "$program" "$dir"
}

raw() {
	stty -F "$(cat "$dir/tty")" -a | grep -q -e ' -icanon'
}

@test "over SSH, all 256 bytes come back from a pty one by one, none ends it" {
	head -n 256 "$top/tests/python2-repr.tsv" | at_terminal 'exec env SSH_TTY=$(tty) "$1" 2>"$2/err"'
	[ ! -s "$dir/err" ]
}

@test "what was typed before it started is not thrown away" {
	# The shell takes the first byte, so that the others are there, and answers it.
	printf '616263\tany\n' | at_terminal 'stty raw -echo
		printf "'"$prefix"'\047%s\047\r\n" "$(dd bs=1 count=1 2>/dev/null)"; exec env SSH_TTY=$(tty) "$1"'
}

# Run the program by hand, at the end of the command "$1", as a child of a shell.
by_hand() {
	at_terminal 'stty -g >"$2/before"
		'"$1"' "$1" 2>"$2/err"
		echo $? >"$2/status"; stty -g >"$2/after"'
	assert_equal "echo-shell: Ctrl-D leaves" "$(cat "$dir/err")"
	assert_equal "$(cat "$dir/before")" "$(cat "$dir/after")"
}

@test "by hand it says how to leave, a lone Ctrl-D leaves, and the terminal is as it was, whatever is inherited" {
	export SSH_CONNECTION=x SSH_ORIGINAL_COMMAND=ls SSH_TTY=/dev/null
	for words in '' 'env SSH_TTY=$(tty)'; do
		by_hand "$words" <<'EOF'
78	'x'
0478	'\x04x'
04	'\x04'
	end
EOF
		assert_equal 0 "$(cat "$dir/status")"
		rm "$dir"/*
	done
}

@test "by hand as leader of a session, as tmux starts a window, Ctrl-D leaves too" {
	export SSH_CONNECTION=x SSH_TTY=/dev/null
	printf '%s\n' "04	'\x04'" '	end' | at_terminal 'exec "$1" 2>"$2/err"'
	assert_equal "echo-shell: Ctrl-D leaves" "$(cat "$dir/err")"
}

@test "by hand the terminal is as it was after the end of input and after an error" {
	cd "$top" || return # LD_PRELOAD takes no path with a blank
	for fault in '0 read 2 none' '1 read 2 EPERM'; do
		by_hand "env FAIL='${fault#* }' LD_PRELOAD=tests/failing.so" <<<"78	'x'"$'\n\tend'
		assert_equal "${fault%% *}" "$(cat "$dir/status")"
		rm "$dir"/*
	done
}

@test "by hand it keeps its user's rights" {
	cd "$top"
	by_hand "env FAIL='read 2 getpid' LD_PRELOAD=tests/failing.so" <<'EOF'
78	'x'
04	'\x04'
	end
EOF
	assert_equal 0 "$(cat "$dir/status")"
}

@test "a pty that was hung up is the end, with status 0" {
	echo "78	'x'" | at_terminal 'trap "" HUP; "$1" 2>/dev/null; echo $? >"$2/status"'
	wait_for [ -s "$dir/status" ]
	assert_equal 0 "$(cat "$dir/status")"
}

# Run the program, or words before it, with a fault, as failing.c has it.
with_fault() {
	local fault=$1

	shift
	cd "$top" || return # LD_PRELOAD takes no path with a blank
	timeout 20 "$@" env FAIL="$fault" LD_PRELOAD=tests/failing.so "$program"
}

@test "once it serves, it is in the sandbox" {
	for words in '' "$top/tests/sandbox"; do
		run with_fault "read 1 getpid" ${words:+"$words"} <<<x
		assert_equal $((128 + $(kill -l SYS))) "$status"
	done
}
@test "reads and writes that are cut short or interrupted lose and double nothing" {
	for fault in "read 0 EINTR" "read 0 short" "write 0 EINTR" "write 0 short" "write 2 short"; do
		with_fault "$fault" "$top/tests/talk" -u sizes 2>"$dir/err"
		assert_equal "" "$(cat "$dir/err")" # of the loader, where nothing was preloaded
	done
}

@test "a call that fails ends it at once with status 1; where there is no sandbox it serves" {
	for fault in "read 1 EPERM" "read 1 EIO" "write 1 EPERM" "write 1 none"; do
		run with_fault "$fault" <<<x
		assert_equal "1 " "$status $output"
	done
	run with_fault "prctl 3 EPERM" <<<x
	assert_equal "1 echo-shell: sandbox: Operation not permitted" "$status $output"
	for call in 2 3; do
		assert_equal "$(answer "'x'")" "$(printf x | with_fault "prctl $call EINVAL")"
	done
}
