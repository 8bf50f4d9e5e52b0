#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The program by itself: no root, no sshd.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	dir=$(mktemp -d)
	unset SSH_ORIGINAL_COMMAND SSH_CONNECTION
}

teardown() {
	rm -rf "$dir"
}

@test "the shell files and the C files are free of warnings" {
	make -C "$top" lint
}

@test "each of the 628 answers is what Python 2.7 printed" {
	same 628 "$(wc -l <"$top/tests/python2-repr.tsv")"
	"$top/tests/talk" -s table "$program" <"$top/tests/python2-repr.tsv"
}

@test "all 65,536 pairs of bytes come back in their one canonical form" {
	"$top/tests/talk" -s pairs "$program"
}

@test "chunks around every boundary and random ones come back, each in one line and one write, and streams of them" {
	for mode in sizes random; do
		"$top/tests/talk" -s "$mode" "$program"
		"$top/tests/talk" -u "$mode" "$program"
	done
}

@test "a pipe, a file and a device are answered to their end, with status 0" {
	printf 'caf\303\251\r\n' | "$program" >"$dir/out"
	echo "$(answer "'caf\\xc3\\xa9\\r\\n'")" | cmp - "$dir/out"
	: | "$program" >"$dir/out"
	[ ! -s "$dir/out" ]
	printf 'x' >"$dir/in"
	same "$(answer "'x'")" "$("$program" <"$dir/in")"
	same "" "$("$program" </dev/null)"
	same "$prefix" "$("$program" </dev/urandom | head -c ${#prefix})"
}

@test "as a login shell and for a ForceCommand that names it, it serves" {
	for command in echo-shell /usr/local/bin/echo-shell 'exec /usr/local/bin/echo-shell'; do
		same "$(answer "'x'")" "$(printf x | "$program" -c "$command")"
	done
	same "$(answer "'x'")" "$(printf x | bash -c "exec -a -echo-shell '$program'")"
}

@test "a command is refused, quoted in one line, and never run" {
	for command in ls "touch $dir/ran" "echo-shell; touch $dir/ran" \
		"\$(touch $dir/ran)/echo-shell" "sh -c x/echo-shell" ./echo-shell2 ''; do
		run "$program" -c "$command"
		same "1 echo-shell: refused '$command': this account only echoes; run ssh without a command" "$status $output"
	done
	[ ! -e "$dir/ran" ]
	same "" "$("$program" -c ls 2>/dev/null || :)"
}

@test "a command that sshd passes on is refused, whatever -c says" {
	SSH_ORIGINAL_COMMAND=$'scp -t \e[2J\'"\n' run "$program" -c 'exec /usr/local/bin/echo-shell'
	same "1 echo-shell: refused 'scp -t \\x1b[2J\\'\"\\n': this account only echoes; run ssh without a command" "$status $output"
	SSH_ORIGINAL_COMMAND='' run "$program"
	same 1 "$status"
	has "$output" "refused ''"
}

@test "a command longer than a read is cut in the refusal, and still one line" {
	long=$(head -c 100000 /dev/zero | tr '\0' '\1')
	SSH_ORIGINAL_COMMAND=$long run "$program"
	same 1 "$status"
	same $((65536 * 4 + 2 + 20 + 53)) "${#output}"
}

@test "anything else on the command line is a usage error" {
	for arguments in -x 'a b' '-c' '-c a b' '-x echo-shell'; do
		# shellcheck disable=SC2086 # words
		run "$program" $arguments
		same "2 echo-shell: usage: echo-shell [-c command]" "$status $output"
	done
}

@test "an input or output that fails is one line and status 1" {
	run "$program" <"$dir"
	same "1 echo-shell: standard input: Is a directory" "$status $output"
	run bash -c "'$program' <&-" # by a shell of its own: bats's would take the number again
	same "1 echo-shell: standard input: Bad file descriptor" "$status $output"
	run bash -c "echo x | '$program' >&-"
	same "1 echo-shell: standard output: Bad file descriptor" "$status $output"
	run bash -c "echo x | '$program' >/dev/full"
	same "1 echo-shell: standard output: No space left on device" "$status $output"
}

@test "a reader that is gone ends it, by SIGPIPE or, where that is ignored, with a line" {
	timeout 20 bash -c 'yes | "$0" | head -n 1; echo "${PIPESTATUS[*]}"' "$program" >"$dir/out"
	same "141 141 0" "$(tail -n 1 "$dir/out")"
	timeout 20 bash -c 'trap "" PIPE; head -c 999999 /dev/zero | "$0" | head -n 1; echo "${PIPESTATUS[1]}"' \
		"$program" >"$dir/out" 2>"$dir/err"
	same 1 "$(tail -n 1 "$dir/out")"
	has "$(cat "$dir/err")" "echo-shell: standard output: Broken pipe"
}

sandboxed() {
	grep -q '^Seccomp:.2' "/proc/$1/status"
}

@test "O_NONBLOCK is cleared" {
	mkfifo "$dir/in" "$dir/out"
	exec 7<>"$dir/in" 8<>"$dir/out"
	perl -e 'use Fcntl; fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for STDIN, STDOUT;
		exec @ARGV' "$program" <&7 >&8 3>&- &
	wait_for sandboxed "$!"
	for fd in 7 8; do
		flags=$(awk '/^flags:/ { print $2 }' "/proc/$$/fdinfo/$fd")
		same 0 $((flags & 04000))
	done
	printf x >&7
	read -r -u 8 came
	same "$(answer "'x'")" "$came"
	kill "$!"
}

@test "the sandbox kills all but reading 0, writing 1 and 2, and ending, in a container too" {
	"$top/tests/sandbox" </dev/null
}

@test "where a filter is in force before, as in a container, it adds its own" {
	mkfifo "$dir/in" "$dir/out"
	"$top/tests/sandbox" "$program" <>"$dir/in" >"$dir/out" 3>&- &
	exec 9<"$dir/out"
	printf x >"$dir/in"
	read -r -u 9 came
	same "$(answer "'x'")" "$came"
	same "2 1" "$(awk '/^Seccomp:|^NoNewPrivs:/ { print $2 }' "/proc/$!/status" | sort -r | tr '\n' ' ' | sed 's/ $//')"
	# From 5.9 on the kernel counts them.
	same 2 "$(awk '/^Seccomp_filters:/ { count = $2 } END { print count ? count : 2 }' "/proc/$!/status")"
	kill "$!"
}

# --- at a terminal ----------------------------------------------------------

# Run a shell script on a pty, with the program as "$1" and the test's folder as "$2". It
# writes the program's pid to "$2/pid". Talk by the table on stdin, in raw mode.
on_a_pty() {
	rm -f "$dir/pid"
	talk_when in_raw_mode -- "$top/tests/talk" -p table sh -c "$1" sh "$program" "$dir"
}

in_raw_mode() {
	[ -s "$dir/pid" ] && sandboxed "$(cat "$dir/pid")"
}

@test "over SSH, all 256 bytes come back from a pty one by one, none ends it" {
	head -n 256 "$top/tests/python2-repr.tsv" |
		SSH_CONNECTION=x on_a_pty 'echo $$ >"$2/pid"; exec "$1" 2>"$2/err"'
	[ ! -s "$dir/err" ]
}

@test "what was typed before it started is not thrown away" {
	# The shell takes the first byte, so that the others are there, and answers it.
	printf '616263\tany\n' | SSH_CONNECTION=x talk_when [ -e "$dir/ready" ] -- "$top/tests/talk" -p table \
		sh -c 'stty raw -echo; : >"$2/ready"
			printf "%s\047%s\047\r\n" "$3" "$(dd bs=1 count=1 2>/dev/null)"; exec "$1"' sh "$program" "$dir" "$prefix"
}

@test "a pty that was hung up is the end, with status 0" {
	echo "78	'x'" | SSH_CONNECTION=x on_a_pty \
		'trap "" HUP; exec 4<&0; "$1" <&4 & echo $! >"$2/pid"; wait $!; echo $? >"$2/status"'
	wait_for [ -s "$dir/status" ]
	same 0 "$(cat "$dir/status")"
}

# Run the program, with failing.so where there is a FAIL, and look at the terminal before
# and after it. By descriptor 4, because what a shell runs in the background has no stdin else.
by_hand='exec 4<&0; stty -g >"$2/before"
	${FAIL:+env "LD_PRELOAD=${1%/*}/tests/failing.so"} "$1" <&4 2>"$2/err" & echo $! >"$2/pid"
	wait $!; echo $? >"$2/status"; stty -g >"$2/after"'

# See how a run by hand ended: its status, and the terminal as it was.
ended() {
	same "$1" "$(cat "$dir/status")"
	same "$(cat "$dir/before")" "$(cat "$dir/after")"
}

@test "by hand it says how to leave, Ctrl-D leaves, and the terminal is as it was" {
	printf "78\t'x'\n0478\t'\\\\x04x'\n78\t'x'\n04\t'\\\\x04'\n\tend\n" | on_a_pty "$by_hand"
	same "echo-shell: Ctrl-D leaves" "$(cat "$dir/err")"
	ended 0
}

@test "by hand in a shell over SSH, Ctrl-D leaves too" {
	# Job control, as an interactive shell has it, puts the program in the foreground.
	printf "78\t'x'\n04\t'\\\\x04'\n\tend\n" | SSH_CONNECTION=x on_a_pty \
		'set -m; sh -c "echo \$\$ >\"$2/pid\"; exec \"$1\" 2>\"$2/err\""'
	same "echo-shell: Ctrl-D leaves" "$(cat "$dir/err")"
}

@test "by hand, a signal that ends it leaves the terminal as it was" {
	for signal in HUP INT QUIT TERM; do
		{
			wait_for [ -e "$dir/met" ]
			kill -s "$signal" "$(cat "$dir/pid")"
			printf '\tend\n'
		} | on_a_pty "$by_hand"
		ended $((128 + $(kill -l "$signal")))
		rm "$dir"/*
	done
}

@test "by hand, a reader that goes away ends it, the terminal as it was" {
	{
		printf "78\t'x'\n"
		wait_for [ -e "$dir/gone" ]
		printf '79\tend\n'
	} | on_a_pty 'stty -g >"$2/before"
		{ sh -c "echo \$\$ >\"$2/pid\"; exec \"$1\" 2>\"$2/err\""; echo $? >"$2/status"; } |
			{ head -n 1; exec <&-; : >"$2/gone"; }
		stty -g >"$2/after"'
	ended 141
}

@test "50,000 inputs, with sanitizers: each repr is canonical, in its bounds" {
	make -C "$top" fuzz FUZZ=50000
}

# --- faults -----------------------------------------------------------------

# Run the program, or words before it, with a fault, as failing.c has it.
with_fault() {
	local fault=$1

	shift
	timeout 20 "$@" env FAIL="$fault" LD_PRELOAD="$top/tests/failing.so" "$program"
}

@test "reads and writes that are cut short or interrupted lose and double nothing" {
	for fault in "read 0 EINTR" "read 0 short" "read 2 short" "write 0 EINTR" "write 0 short" "write 2 short"; do
		with_fault "$fault" "$top/tests/talk" -u sizes 2>"$dir/err"
		same "" "$(cat "$dir/err")" # of the loader, where nothing was preloaded
	done
}

errors="EINTR:Interrupted system call
EAGAIN:Resource temporarily unavailable
EIO:Input/output error
EBADF:Bad file descriptor
EPIPE:Broken pipe
ENOSPC:No space left on device"

# Print which descriptor or step a call has to do with.
object() {
	case $1 in
	read* | tcgetattr* | "fcntl 1") echo "standard input" ;;
	write* | "fcntl 2") echo "standard output" ;;
	tcsetattr*) echo "raw mode on standard input" ;;
	prctl*) echo "sandbox" ;;
	esac
}

@test "each system call that fails on a pipe ends it at once, with one line and status 1" {
	while IFS=: read -r error why; do
		for call in "read 1" "read 2" "write 1" "tcgetattr 1" "fcntl 1" "fcntl 2" "prctl 2" "prctl 3"; do
			case "$call $error" in read*EINTR | write*EINTR) continue ;; esac # goes on, see above
			status=0
			printf x | with_fault "$call $error" >"$dir/out" 2>"$dir/err" || status=$?
			same "1 echo-shell: $(object "$call"): $why" "$status $(cat "$dir/err")"
			expected=
			[ "$call" != "read 2" ] || expected=$(answer "'x'")
			same "$expected" "$(cat "$dir/out")"
		done
	done <<<"$errors"
	status=0
	printf x | with_fault "write 1 none" 2>"$dir/err" || status=$?
	same "1 echo-shell: standard output: Input/output error" "$status $(cat "$dir/err")"
}

@test "each system call that fails at a terminal ends it, the terminal as it was" {
	while IFS=: read -r error why; do
		for call in "read 1" tcgetattr\ 1 tcsetattr\ 1 "fcntl 1" "fcntl 2" "prctl 2" "prctl 3"; do
			expected="echo-shell: Ctrl-D leaves echo-shell: $(object "$call"): $why"
			status=1
			case "$call $error" in
			*setattr*EINTR | read*EINTR) continue ;; # goes on
			*getattr* | fcntl*) expected="echo-shell: $(object "$call"): $why" ;;
			*read*EIO) expected="echo-shell: Ctrl-D leaves" status=0 ;; # hung up
			esac
			echo "$call $error"
			printf '\tend\n' | FAIL="$call $error" "$top/tests/talk" -p table sh -c "$by_hand" sh "$program" "$dir"
			same "$expected" "$(tr -d '\r' <"$dir/err" | tr '\n' ' ' | sed 's/ $//')"
			ended "$status"
		done
	done <<<"$errors"
}

@test "on a kernel without a sandbox it serves all the same" {
	for call in 2 3; do
		same "$(answer "'x'")" "$(printf x | with_fault "prctl $call EINVAL")"
	done
}

@test "at a terminal, a change of modes that is interrupted is made all the same" {
	for call in 1 2; do
		printf "78\t'x'\n04\t'\\\\x04'\n\tend\n" | FAIL="tcsetattr $call EINTR" on_a_pty "$by_hand"
		ended 0
	done
}

@test "a reader that takes a byte at a time gets every byte" {
	head -c 20000 /dev/urandom >"$dir/in"
	"$program" <"$dir/in" >"$dir/expected"
	"$program" <"$dir/in" | dd bs=1 status=none | cmp - "$dir/expected"
}

@test "a reader that stops holds it back: it neither ends nor grows, and all comes" {
	mkfifo "$dir/out"
	head -c 3000000 /dev/zero >"$dir/in"
	"$program" <"$dir/in" >"$dir/out" 3>&- &
	pid=$!
	exec 9<"$dir/out"
	wait_for sandboxed "$pid"
	# Its input is a file: if it sleeps, it waits for its reader.
	for ((i = 0; i < 5; i++)); do
		wait_for grep -q '^State:.S' "/proc/$pid/status"
		head -c 100000 <&9 >>"$dir/came"
	done
	[ "$(awk '/^VmHWM:/ { print $2 }' "/proc/$pid/status")" -lt 4096 ]
	cat <&9 >>"$dir/came"
	wait "$pid"
	"$program" <"$dir/in" | cmp - "$dir/came"
}
