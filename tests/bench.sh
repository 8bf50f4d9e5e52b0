#!/usr/bin/env bash
# SPDX-License-Identifier: ISC
#
# Measures, as root, and prints one table:
#
#   make bench                              all rows; each number is the median of
#                                           10 runs, or 30 where they are short,
#                                           between its lowest and highest
#   make bench ROWS="text setup" RUNS=3     these rows only, and fewer runs
#
# What is compared runs in turn, so that whatever else the machine does falls on
# both. A goal that is missed is no failure; a row that cannot be measured is.
#
#   ours    the server as setup.sh installs it, in a machine of its own
#   stock   the same program as the login shell of an account in no group of ours,
#           with the hash that chpasswd makes by default, under the sshd_config
#           that the distribution ships, with another port
#   conch   the server of Twisted Conch's tutorial, where python3 has Conch

set -u
: "${RUNS:=10}" "${ROWS:=text random roundtrip bulk pty setup memory early}"
PATH=$PATH:/usr/sbin:/sbin # root by plain su has neither
unset TEST_HERE # a benchmark leaves nothing on a machine
BATS_TEST_DIRNAME=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

program=/usr/local/bin/echo-shell # the one that setup.sh put there
answer=$'echo: \'k\'\r\n'
# cat says by echo-shell's first line that it is there, and raw.
cat="stty raw -echo; printf \"echo: 'k'\\r\\n\"; exec cat"
runs=$(seq "$RUNS")
often=$(seq $((3 * RUNS))) # where a run is short and noisy
# The client's own choice takes up to half of a login, and makes nothing else slower.
cheap=(-o KexAlgorithms=curve25519-sha256)
# What our server has for environment: malloc's settings.
environment=$(sed -n 's/^Environment=//p' "$BATS_TEST_DIRNAME/../sshd_config.d/port-2022/echo-shell.service")
with=
stock_port=2030 conch_port=2031 socket_port=2032
status=0

die() {
	echo "bench: $*" >&2
	exit 1
}

# --- the servers ------------------------------------------------------------

# Takes a name, a login shell and more for useradd; makes an account with demo's
# password.
account() {
	in_machine useradd -r -M -d / -s "$2" "${@:3}" "$1" &&
		printf '%s:%s\n' "$1" "$PASSWORD" | in_machine chpasswd
}

# Prints what our server holds for demo.
demo_view() {
	in_machine sshd -T -f /etc/ssh/echo-shell/sshd_config -C user=demo,host=localhost,addr=127.0.0.1
}

# The yardsticks that want our server get accounts on it, whose Match comes before
# the lock. demo has the configuration that it had: sshd shows it.
yardsticks_up() {
	local before

	mkdir "$work/dynamic"
	"${CC:-cc}" -std=c17 -O2 -fPIE -pie -Wl,-z,relro -Wl,-z,now -o "$work/dynamic/echo-shell" "$top/echo-shell.c" || return
	account bench-cat /bin/sh -g echo-shell &&
		account bench-copy /bin/sh -g echo-shell &&
		account bench-dynamic "$work/dynamic/echo-shell" -g echo-shell || return
	cat >"$work/match" <<-END
		Match User bench-cat
			ForceCommand $cat
		Match User bench-copy
			ForceCommand exec $work/project/tests/bench copy 256
		Match User bench-dynamic
			ForceCommand exec $work/dynamic/echo-shell
		Match all
	END
	before=$(demo_view)
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c '
		awk -v "match_file=$0" "/^(Include|Match) / && !done++ { while ((getline line <match_file) > 0) print line } 1" /etc/ssh/echo-shell/sshd_config >/run/sshd_config &&
			cp /run/sshd_config /etc/ssh/echo-shell/sshd_config &&
			read -r pid </run/echo-shell.pid && rm /run/echo-shell.pid && kill -HUP "$pid"' "$work/match" || return
	same "$before" "$(demo_view)" && wait_for in_machine test -s /run/echo-shell.pid
}

# No environment but the PATH: nothing of ours or of whoever runs this.
stock_up() {
	local config=/usr/share/openssh/sshd_config

	in_machine test -e "$config" || config=/etc/ssh/sshd_config
	account bench-stock "$program" &&
		in_machine env -i PATH="$PATH" "$(in_machine sh -c 'command -v sshd')" -f "$config" -o "Port=$stock_port" \
			-o PidFile=/run/stock.pid -E /run/stock.log &&
		wait_for in_machine test -s /run/stock.pid
}

# Our server once more, on a socket such as systemd would give it, with what its unit
# has for environment.
socket_up() {
	local sshd

	sshd=$(in_machine sh -c 'command -v sshd')
	socket=
	in_machine grep -qE "LISTEN_FDS|sd_listen_fds" "$sshd" || return 0
	# shellcheck disable=SC2086 # a list of words
	client tests/bench listen "$socket_port" -- env $environment "$sshd" -D -e \
		-f /etc/ssh/echo-shell/sshd_config -o PidFile=/run/socket.pid >"$work/socket" 2>&1 &
	disown
	wait_for in_machine test -s /run/socket.pid && socket=yes
}

conch_up() {
	conch=
	in_machine /usr/bin/python3 -c 'import twisted.conch.ssh.factory' 2>/dev/null || return 0
	in_machine /usr/bin/python3 tests/conch.py "$conch_port" /etc/ssh/ssh_host_ed25519_key >"$work/conch" 2>&1 &
	disown
	wait_for grep -q ready "$work/conch" && conch=yes
}

# --- measuring --------------------------------------------------------------

# Takes a name and what bench.c wants; adds what it prints to what the name has.
sample() {
	client tests/bench "${@:2}" >>"$work/$1" || failed "$1"
}

failed() {
	echo "bench: cannot measure $1" >&2
	status=1
}

# The same for ssh as a user of a port: a name, the user, the port, mode and arguments,
# "--" and options. $with is for its environment. A client that hides the time of keys
# would show its own clock.
session() {
	local name=$1 user=$2 to=$3 mode=()

	shift 3
	while [ "$1" != -- ]; do
		mode+=("$1")
		shift
	done
	shift
	# shellcheck disable=SC2086 # a list of words
	sample "$name" "${mode[@]}" -- env $with ssh -F "$work/ssh_config" -o IgnoreUnknown=ObscureKeystrokeTiming \
		-o ObscureKeystrokeTiming=no -p "$to" "$@" "$user@demo"
}

# --- the table --------------------------------------------------------------

heading() {
	printf '%s, %s CPUs, Linux %s, %s runs\n\n' "$(ssh -V 2>&1 | cut -d , -f 1)" "$(nproc)" "$(uname -r)" "$RUNS"
	printf '%-33s %-21s %-32s %6s  %-15s %s\n' what ours yardstick ratio goal conch
}

# Takes a name, a column and "median" or "sum"; prints that, and the lowest and highest.
numbers() {
	[ -s "$work/$1" ] || return 0
	sort -n -k "$2,$2" "$work/$1" | awk -v "column=$2" -v "how=$3" '
		{ value[NR] = $column; sum += $column }
		END {
			middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
			print how == "sum" ? sum : middle, value[1], value[NR]
		}'
}

# Takes what is measured, the name of ours, the yardstick in a word and its name, the
# goal for ours / yardstick or "-", and perhaps a name for conch, a column and how.
row() {
	printf '%s\n' "$1" "$(numbers "$2" "${7:-1}" "${8:-median}")" "$3" "$(numbers "$4" "${7:-1}" "${8:-median}")" "$5" \
		"$(numbers "${6:--}" "${7:-1}" "${8:-median}")" | awk '
		function number(x) { return sprintf(x >= 100 || x == int(x) ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x) }
		function cell(s, part) {
			return split(s, part, " ") ? number(part[1]) " (" number(part[2]) "-" number(part[3]) ")" : "-"
		}
		{ line[NR] = $0 }
		END {
			ours = line[2] + 0
			yardstick = line[4] + 0
			known = line[2] != "" && line[4] != ""
			split(line[5], goal, " ")
			if (line[5] != "-" && known)
				met = (goal[1] == ">=" ? ours >= goal[2] * yardstick : ours <= goal[2] * yardstick) ? " met" : " not met"
			printf "%-33s %-21s %-32s %6s  %-15s %s\n", line[1], cell(line[2]),
				line[3] == "-" ? "" : line[3] " " cell(line[4]),
				known && yardstick ? sprintf("%.2f", ours / yardstick) : "-", line[5] met, cell(line[6])
		}'
}

# --- the rows ---------------------------------------------------------------

# The program alone. The yardstick writes as much as the repr is long: of text one
# byte for one, of random bytes 735 for 256.
text() {
	for _ in $often; do
		sample text pipe text 256 -- "$program"
		sample text-copy pipe text 256 -- tests/bench copy 256
	done
	row "text, pipe to pipe, MB/s" text "no repr" text-copy ">= 0.9"
}

random() {
	for _ in $often; do
		sample random pipe random 64 -- "$program"
		sample random-copy pipe random 64 -- tests/bench copy 735
	done
	row "random, pipe to pipe, MB/s" random "no repr" random-copy ">= 0.9"
}

# A key and its whole answer, to which cat's is the key. The client is in both, so
# the second row leaves out client and sshd: a pty, and nothing else.
roundtrip() {
	for _ in $often; do
		session roundtrip demo "$port" keys 1000 "$answer" -- -tt "${cheap[@]}"
		session roundtrip-cat bench-cat "$port" keys 1000 k -- -tt "${cheap[@]}"
		sample roundtrip-direct keys-tty 1000 "$answer" -- env SSH_CONNECTION=none "$program"
		sample roundtrip-direct-cat keys-tty 1000 k -- sh -c "$cat"
		[ -z "$conch" ] || session roundtrip-conch demo "$conch_port" keys 1000 "$answer" -- -tt "${cheap[@]}"
	done
	row "key there and back, us" roundtrip cat roundtrip-cat "<= 1.05" roundtrip-conch
	row "  without ssh and sshd" roundtrip-direct cat roundtrip-direct-cat -
}

# While its buffers grow, a client with glibc's malloc is busier with that than with
# the bytes; in the last row it has our server's settings.
bulk() {
	for _ in $runs; do
		session bulk demo "$port" bulk 16 -- -T "${cheap[@]}"
		session bulk-stock bench-stock "$stock_port" bulk 16 -- -T "${cheap[@]}"
		session bulk-copy bench-copy "$port" bulk 16 -- -T "${cheap[@]}"
		[ -z "$conch" ] || session bulk-conch demo "$conch_port" bulk 16 -- -T "${cheap[@]}"
		with=$environment
		session bulk-malloc demo "$port" bulk 16 -- -T "${cheap[@]}"
		session bulk-malloc-stock bench-stock "$stock_port" bulk 16 -- -T "${cheap[@]}"
		with=
	done
	row "bulk without a pty, MB/s" bulk stock bulk-stock ">= 2" bulk-conch
	row "  beside our sshd alone" bulk "no repr" bulk-copy ">= 0.95"
	row "  client with malloc's settings" bulk-malloc stock bulk-malloc-stock -
}

pty() {
	for _ in $runs; do
		session pty demo "$port" bulk 4 -- -tt "${cheap[@]}"
		session pty-stock bench-stock "$stock_port" bulk 4 -- -tt "${cheap[@]}"
		[ -z "$conch" ] || session pty-conch demo "$conch_port" bulk 4 -- -tt "${cheap[@]}"
	done
	row "bulk with a pty, MB/s" pty stock pty-stock ">= 3" pty-conch
}

# From the start of ssh to the first whole line, with password and pty.
setup() {
	for _ in $often; do
		session setup demo "$port" setup -- -tt
		session setup-stock bench-stock "$stock_port" setup -- -tt
		[ -z "$socket" ] || session setup-socket demo "$socket_port" setup -- -tt
		[ -z "$conch" ] || session setup-conch demo "$conch_port" setup -- -tt
	done
	if [ -n "$socket" ]; then
		row "set-up, on systemd's socket, ms" setup-socket stock setup-stock "<= 0.4" setup-conch
		row "  without that socket" setup stock setup-stock -
	else
		row "set-up, ms" setup stock setup-stock "<= 0.8" setup-conch
	fi
	row "  of it CPU of the client" setup stock setup-stock - setup-conch 2
}

# What the program shares with no other process after a few keys, and how many
# processes the account has beside sshd's. Neither varies: one session will do.
memory() {
	local i pid

	mkfifo "$dir/in"
	client ssh -tt -F "$work/ssh_config" demo <>"$dir/in" >"$dir/out" 2>/dev/null &
	disown
	wait_for serving 1
	for i in 1 2 3 4 5; do
		printf %s "$i" >"$dir/in"
		wait_for grep "^echo: '$i'" "$dir/out" || failed memory
	done
	pid=$(served)
	# shellcheck disable=SC2016 # awk's
	in_machine awk '/^Private_/ { sum += $2 } END { print sum }' "/proc/$pid/smaps_rollup" >"$work/memory"
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'awk -v "uid=$(id -u demo)" "
		/^Name:/ { name = \$2 }
		/^Uid:/ && \$2 == uid && name !~ /^sshd/ { n++ }
		END { print n + 0 }" /proc/[0-9]*/status 2>/dev/null' >"$work/processes"
	end_clients
	echo 64 >"$work/memory-limit"
	echo 1 >"$work/processes-limit"
	row "private memory, KiB" memory limit memory-limit "<= 1"
	row "  processes of a session" processes limit processes-limit "<= 1"
}

# Exact answers, of 20 for each run, to a key sent with the request for the shell, and
# 2 ms after the reply to it. Each is a connection of its own: where sessions share
# one, TCP holds nothing back and keys come earlier.
early() {
	for _ in $runs; do
		session early demo "$port" early 20 0 -- -tt "${cheap[@]}"
		session early-dynamic bench-dynamic "$port" early 20 0 -- -tt "${cheap[@]}"
		session early-2ms demo "$port" early 20 2 -- -tt "${cheap[@]}" -vv
		echo 20 >>"$work/early-all"
	done
	row "early keys, exact" early dynamic early-dynamic ">= 1.25" - 1 sum
	row "  2 ms after the shell's reply" early-2ms all early-all ">= 1" - 1 sum
}

# ----------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || die "must be run as root"
trap '' HUP INT TERM # a machine half made would stay
machine_up
# All that was started runs in the machine and ends with it.
trap 'trap "" HUP INT TERM; machine_down; rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
[ -z "$no_machine" ] || die "$no_machine"
dir=$(mktemp -d "$work/test.XXXXXX")
: >"$dir/clients"
# The distribution's host keys, as installing it makes them; ssh is to know all.
in_machine ssh-keygen -A >/dev/null
server_up || die "setup.sh failed"
# The tests spare themselves the newer ones; what set-up costs shall be the whole.
sed -i "/KexAlgorithms/d" "$work/ssh_config"
yardsticks_up || die "cannot start the yardsticks"
stock_up || die "cannot start the stock sshd"
socket_up || die "cannot start sshd on a socket"
conch_up || die "cannot start Conch: $(tail -n 1 "$work/conch")"
heading
for name in $ROWS; do
	case $name in
	text) text ;;
	random) random ;;
	roundtrip) roundtrip ;;
	bulk) bulk ;;
	pty) pty ;;
	setup) setup ;;
	memory) memory ;;
	early) early ;;
	*) die "no such row: $name" ;;
	esac
done
exit "$status"
