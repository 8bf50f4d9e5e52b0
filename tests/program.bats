#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The program by itself: no root, no sshd.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	work=$(mktemp -d)
	unset SSH_ORIGINAL_COMMAND SSH_CONNECTION
}

teardown() {
	rm -rf "$work"
}

@test "the shell files and the C files are free of warnings" {
	cd "$top"
	make lint
}

@test "each of the 628 answers is what Python 2.7 printed" {
	[ "$(wc -l <"$top/tests/python2-repr.tsv")" = 628 ]
	"$top/tests/talk" -s table -- "$program" <"$top/tests/python2-repr.tsv"
}

@test "all 65,536 pairs of bytes come back in their one canonical form" {
	"$top/tests/talk" -s pairs -- "$program"
}

@test "chunks around every boundary come back, each in one line and one write" {
	"$top/tests/talk" -s sizes -- "$program"
}

@test "random chunks come back, each in one line and one write" {
	"$top/tests/talk" -s random -- "$program"
}

@test "a stream of any length comes back whole" {
	"$top/tests/talk" -u sizes -- "$program"
	"$top/tests/talk" -u random -- "$program"
}

@test "a pipe is answered and its end is status 0" {
	printf 'caf\303\251\r\n' | "$program" >"$work/out"
	printf "echo: 'caf\\\\xc3\\\\xa9\\\\r\\\\n'\r\n" | cmp - "$work/out"
	: | "$program" >"$work/out"
	[ ! -s "$work/out" ]
}

@test "a file and a device are read to their end" {
	printf 'x' >"$work/in"
	same "echo: 'x'"$'\r' "$("$program" <"$work/in")"
	same "" "$("$program" </dev/null)"
	same "echo: '" "$("$program" </dev/urandom | head -c 7)"
}

@test "as a login shell and for a ForceCommand that names it, it serves" {
	for command in echo-shell /usr/local/bin/echo-shell 'exec /usr/local/bin/echo-shell'; do
		same "echo: 'x'"$'\r' "$(printf x | "$program" -c "$command")"
	done
	same "echo: 'x'"$'\r' "$(printf x | bash -c "exec -a -echo-shell '$program'")"
}

@test "a command is refused, quoted in one line, and never run" {
	for command in ls "touch $work/ran" "echo-shell; touch $work/ran" \
		"\$(touch $work/ran)/echo-shell" "sh -c x/echo-shell" ./echo-shell2 ''; do
		run "$program" -c "$command"
		same 1 "$status"
		same "echo-shell: refused '$command': this account only echoes; run ssh without a command" "$output"
	done
	[ ! -e "$work/ran" ]
	[ -z "$("$program" -c ls 2>/dev/null)" ]
}

@test "a command that sshd passes on is refused, whatever -c says" {
	SSH_ORIGINAL_COMMAND=$'scp -t \e[2J\'"\n' run "$program" -c 'exec /usr/local/bin/echo-shell'
	same 1 "$status"
	same "echo-shell: refused 'scp -t \\x1b[2J\\'\"\\n': this account only echoes; run ssh without a command" "$output"
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
		same 2 "$status"
		same "echo-shell: usage: echo-shell [-c command]" "$output"
	done
}

@test "an input or output that fails is one line and status 1" {
	run "$program" <"$work"
	same "1 echo-shell: standard input: Is a directory" "$status $output"
	run bash -c "'$program' <&-" # by a shell of its own: bats's would take the number again
	same "1 echo-shell: standard input: Bad file descriptor" "$status $output"
	run bash -c "echo x | '$program' >&-"
	same "1 echo-shell: standard output: Bad file descriptor" "$status $output"
	run bash -c "echo x | '$program' >/dev/full"
	same "1 echo-shell: standard output: No space left on device" "$status $output"
}

@test "a reader that is gone ends it, by SIGPIPE or, where that is ignored, with a line" {
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout 20 bash -c 'yes | "$0" | head -n 1; echo "${PIPESTATUS[*]}"' "$program" >"$work/out"
	same "141 141 0" "$(tail -n 1 "$work/out")"
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout 20 bash -c 'trap "" PIPE; head -c 999999 /dev/zero | "$0" | head -n 1; echo "${PIPESTATUS[1]}"' \
		"$program" >"$work/out" 2>"$work/err"
	same 1 "$(tail -n 1 "$work/out")"
	has "$(cat "$work/err")" "echo-shell: standard output: Broken pipe"
}

@test "in a session it has O_NONBLOCK cleared, no new privileges and a filter" {
	mkfifo "$work/in" "$work/out"
	# shellcheck disable=SC2016 # perl's variables
	perl -e 'use Fcntl; fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for STDIN, STDOUT;
		exec @ARGV' "$program" <>"$work/in" >"$work/out" 3>&- &
	exec 9<"$work/out"
	wait_for sandboxed "$!"
	for fd in 0 1; do
		flags=$(awk '/^flags:/ { print $2 }' "/proc/$!/fdinfo/$fd")
		same 0 $((flags & 04000))
	done
	same 1 "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$!/status")"
	printf x >"$work/in"
	read -r -u 9 answer
	same "echo: 'x'"$'\r' "$answer"
	kill "$!"
}

@test "the sandbox kills all but reading 0, writing 1 and 2, and ending, in a container too" {
	"$top/tests/sandbox" </dev/null
}

@test "where a filter is in force before, as in a container, it adds its own" {
	mkfifo "$work/in" "$work/out"
	"$top/tests/sandbox" "$program" <>"$work/in" >"$work/out" 3>&- &
	exec 9<"$work/out"
	printf x >"$work/in"
	read -r -u 9 answer
	same "echo: 'x'"$'\r' "$answer"
	same "2 1" "$(awk '/^Seccomp:|^NoNewPrivs:/ { print $2 }' "/proc/$!/status" | sort -r | tr '\n' ' ' | sed 's/ $//')"
	# From 5.9 on the kernel counts them.
	same 2 "$(awk '/^Seccomp_filters:/ { count = $2 } END { print count ? count : 2 }' "/proc/$!/status")"
	kill "$!"
}

# Takes a shell script that runs the program on a pty, "$1", and writes its pid to
# the file "$2/pid"; talks to it by the table on stdin once it is in raw mode.
on_a_pty() {
	mkfifo "$work/table"
	"$top/tests/talk" -p table -- sh -c "$1" sh "$program" "$work" \
		<"$work/table" >"$work/talked" 2>&1 3>&- &
	talk=$!
	exec 9>"$work/table"
	wait_for [ -s "$work/pid" ]
	wait_for sandboxed "$(cat "$work/pid")"
	: >"$work/raw"
	cat >&9
	exec 9>&-
	wait "$talk" || {
		cat "$work/talked"
		return 1
	}
}

sandboxed() {
	grep -q '^Seccomp:.2' "/proc/$1/status"
}

@test "over SSH, all 256 bytes come back from a pty one by one, none ends it" {
	# shellcheck disable=SC2016 # expanded by the inner shell
	head -n 256 "$top/tests/python2-repr.tsv" |
		SSH_CONNECTION=x on_a_pty 'echo $$ >"$2/pid"; exec "$1" 2>"$2/err"'
	[ ! -s "$work/err" ]
}

@test "what was typed before it started is not thrown away" {
	mkfifo "$work/table"
	# The shell takes the first byte, so that the others are there, and answers it.
	# shellcheck disable=SC2016 # expanded by the inner shell
	SSH_CONNECTION=x "$top/tests/talk" -p table -- sh -c 'stty raw -echo; : >"$2/ready"
		printf "echo: \047%s\047\r\n" "$(dd bs=1 count=1 2>/dev/null)"; exec "$1"' sh "$program" "$work" \
		<"$work/table" >"$work/talked" 2>&1 3>&- &
	exec 9>"$work/table"
	wait_for [ -e "$work/ready" ]
	printf '616263\tany\n' >&9
	exec 9>&-
	wait "$!" || {
		cat "$work/talked"
		return 1
	}
}

@test "a pty that was hung up is the end, with status 0" {
	# shellcheck disable=SC2016 # expanded by the inner shell
	echo "78	'x'" | SSH_CONNECTION=x on_a_pty \
		'trap "" HUP; exec 4<&0; "$1" <&4 & echo $! >"$2/pid"; wait $!; echo $? >"$2/status"'
	wait_for [ -s "$work/status" ]
	same 0 "$(cat "$work/status")"
}

# Runs the program and looks at the terminal before and after it. By descriptor 4,
# because what a shell runs in the background has no stdin else.
# shellcheck disable=SC2016 # expanded by the inner shell
by_hand='exec 4<&0; stty -g >"$2/before"; "$1" <&4 2>"$2/err" & echo $! >"$2/pid"
	wait $!; echo $? >"$2/status"; stty -g >"$2/after"'

@test "by hand it says how to leave, Ctrl-D leaves, and the terminal is as it was" {
	printf "78\t'x'\n0478\t'\\\\x04x'\n78\t'x'\n04\t'\\\\x04'\n\tend\n" | on_a_pty "$by_hand"
	same "echo-shell: Ctrl-D leaves" "$(cat "$work/err")"
	same 0 "$(cat "$work/status")"
	same "$(cat "$work/before")" "$(cat "$work/after")"
}

@test "by hand, a signal that ends it leaves the terminal as it was" {
	for signal in HUP INT QUIT ABRT ALRM TERM USR1 USR2 XCPU; do
		{
			wait_for [ -e "$work/raw" ]
			kill -s "$signal" "$(cat "$work/pid")"
			printf '\tend\n'
		} | on_a_pty "$by_hand"
		same $((128 + $(kill -l "$signal"))) "$(cat "$work/status")"
		same "$(cat "$work/before")" "$(cat "$work/after")"
		rm "$work"/*
	done
}

@test "by hand, a reader that goes away ends it, the terminal as it was" {
	# shellcheck disable=SC2016 # expanded by the inner shell
	{
		printf "78\t'x'\n"
		wait_for [ -e "$work/gone" ]
		printf '79\tend\n'
	} | on_a_pty 'stty -g >"$2/before"
		{ sh -c "echo \$\$ >\"$2/pid\"; exec \"$1\" 2>\"$2/err\""; echo $? >"$2/status"; } |
			{ head -n 1; exec <&-; : >"$2/gone"; }
		stty -g >"$2/after"'
	same 141 "$(cat "$work/status")"
	same "$(cat "$work/before")" "$(cat "$work/after")"
}

@test "50,000 inputs, with sanitizers: each repr is canonical, in its bounds" {
	cd "$top"
	make fuzz FUZZ=50000
}

# --- faults -----------------------------------------------------------------

# Takes a fault, as failing.c has it, and what to run with it in place of the program.
with_fault() {
	local fault=$1

	shift
	timeout 20 "$@" env FAIL="$fault" LD_PRELOAD="$top/tests/failing" "$top/tests/dynamic"
}

@test "reads and writes that are cut short or interrupted lose and double nothing" {
	for fault in "read 0 EINTR" "read 0 short" "read 2 short" "write 0 EINTR" "write 0 short" "write 2 short"; do
		with_fault "$fault" "$top/tests/talk" -u sizes -- 2>"$work/err"
		same "" "$(cat "$work/err")" # of the loader, where nothing was preloaded
	done
}

errors="EINTR:Interrupted system call
EAGAIN:Resource temporarily unavailable
EIO:Input/output error
EBADF:Bad file descriptor
EPIPE:Broken pipe
ENOSPC:No space left on device"

# Takes which descriptor or step a call has to do with.
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
		for call in "read 1" "read 2" "write 1" "tcgetattr 1" "fcntl 1" "fcntl 2" "prctl 1" "prctl 2"; do
			case "$call $error" in read*EINTR | write*EINTR) continue ;; esac # goes on, see above
			status=0
			printf x | with_fault "$call $error" >"$work/out" 2>"$work/err" || status=$?
			same "1 echo-shell: $(object "$call"): $why" "$status $(cat "$work/err")"
			answer=
			[ "$call" != "read 2" ] || answer="echo: 'x'"$'\r'
			same "$answer" "$(cat "$work/out")"
		done
	done <<<"$errors"
	status=0
	printf x | with_fault "write 1 none" 2>"$work/err" || status=$?
	same "1 echo-shell: standard output: Input/output error" "$status $(cat "$work/err")"
}

@test "each system call that fails at a terminal ends it, the terminal as it was" {
	while IFS=: read -r error why; do
		for call in "read 1" tcgetattr\ 1 tcsetattr\ 1 "fcntl 1" "fcntl 2" "prctl 1" "prctl 2"; do
			expected="1 echo-shell: Ctrl-D leaves echo-shell: $(object "$call"): $why"
			case "$call $error" in
			*setattr*EINTR | read*EINTR) continue ;; # goes on
			*getattr*) expected="1 echo-shell: $(object "$call"): $why" ;;
			*read*EIO) expected="0 echo-shell: Ctrl-D leaves" ;; # hung up
			esac
			echo "$call $error"
			# shellcheck disable=SC2016 # expanded by the inner shell
			printf '\tend\n' | "$top/tests/talk" -p table -- sh -c 'stty -g >"$3/before"
				FAIL=$1 LD_PRELOAD=$2 "$4" 2>"$3/err"
				echo $? >"$3/status"; stty -g >"$3/after"' sh "$call $error" "$top/tests/failing" "$work" "$top/tests/dynamic"
			same "$expected" "$(tr -d '\r' <"$work/err" | cat "$work/status" - | tr '\n' ' ' | sed 's/ $//')"
			same "$(cat "$work/before")" "$(cat "$work/after")"
		done
	done <<<"$errors"
}

@test "on a kernel without a sandbox it serves all the same" {
	for call in 1 2; do
		same "echo: 'x'"$'\r' "$(printf x | FAIL="prctl $call EINVAL" LD_PRELOAD=$top/tests/failing "$top/tests/dynamic")"
	done
}

@test "at a terminal, a change of modes that is interrupted is made all the same" {
	for call in 1 2; do
		# shellcheck disable=SC2016 # expanded by the inner shell
		printf "78\t'x'\n04\t'\\\\x04'\n\tend\n" | program=$top/tests/dynamic on_a_pty "export FAIL='tcsetattr $call EINTR'
			"'exec 4<&0; stty -g >"$2/before"; LD_PRELOAD="${1%/*}/failing" "$1" <&4 2>"$2/err" & echo $! >"$2/pid"
			wait $!; echo $? >"$2/status"; stty -g >"$2/after"'
		same 0 "$(cat "$work/status")"
		same "$(cat "$work/before")" "$(cat "$work/after")"
		rm "$work"/*
	done
}

@test "a reader that takes a byte at a time gets every byte" {
	head -c 20000 /dev/urandom >"$work/in"
	"$program" <"$work/in" >"$work/expected"
	"$program" <"$work/in" | dd bs=1 status=none | cmp - "$work/expected"
}

@test "a reader that stops for seconds holds it back: it neither ends nor grows, and all comes" {
	mkfifo "$work/out"
	head -c 3000000 /dev/zero >"$work/in"
	"$program" <"$work/in" >"$work/out" 3>&- &
	pid=$!
	exec 9<"$work/out"
	wait_for sandboxed "$pid"
	wait_for grep -q '^State:.S' "/proc/$pid/status" # its input is a file: it can but wait to write
	sleep 2 # the reader's stop, which is what is tried here
	kill -0 "$pid"
	[ "$(awk '/^VmHWM:/ { print $2 }' "/proc/$pid/status")" -lt 4096 ]
	"$program" <"$work/in" | cmp - <(cat <&9)
	wait "$pid"
}
