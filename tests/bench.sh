#!/usr/bin/env bash
# SPDX-License-Identifier: ISC
#
# make bench [RUNS=n]: print, as root, what a user sees of the server's speed. Each
# number is the median of RUNS runs (15), between the lowest and the highest.
#
#   ours    the server as setup.sh installs it
#   stock   the same program as the login shell of an account that chpasswd gave its
#           password, under the sshd_config that the distribution ships
#
# Both run in turn in a machine of their own, so that whatever else the host does
# falls on both. What is bigger than one, or smaller, is no failure.

set -eu
: "${RUNS:=15}"
BATS_TEST_DIRNAME=$(cd "$(dirname "$0")" && pwd)
KEPT=$(mktemp -d)
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

die() {
	echo "bench: $*" >&2
	exit 1
}

# Print the median of what talk measures in a mode, with ssh -T or -tt, to ours or stock.
# A client that hides the time of keys would show its own clock.
measure() {
	client tests/talk -t "$1" ssh -F "$work/ssh_config" \
		-o IgnoreUnknown=ObscureKeystrokeTiming -o ObscureKeystrokeTiming=no "$2" "$3" | median
}

# Print the median of numbers, the lowest and the highest.
median() {
	sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)], value[1], value[NR] }'
}

# Print the KiB of all processes of a session with a terminal: the program and the sshd
# above it, but not the listener. Memory that is shared counts in parts.
memory() {
	local pid

	mkfifo "$dir/in"
	client ssh -tt -F "$work/ssh_config" "$1" <>"$dir/in" >"$dir/out" 2>/dev/null &
	disown # or bash tells of its end
	wait_for serving 1
	printf k >"$dir/in"
	wait_for grep -qF "$(answer "'k'")" "$dir/out"
	pid=$(served)
	# shellcheck disable=SC2016 # the machine's shell
	there 'pid=$0
		while parent=$(awk "/^PPid:/ { print \$2 }" "/proc/$pid/status") && [ "$parent" != 1 ]; do
			cat "/proc/$pid/smaps_rollup"
			pid=$parent
		done' "$pid" | awk '/^Pss:/ { sum += $2 } END { print sum }'
	in_machine kill -KILL "$pid"
	wait_for serving 0
	rm "$dir/in"
}

# Print one row: its name, and a command that measures whoever follows it.
row() {
	local name=$1

	shift
	for _ in $(seq "$RUNS"); do
		"$@" demo >>"$dir/ours" || die "cannot measure: $name"
		"$@" stock >>"$dir/stock" || die "cannot measure: $name"
	done
	for who in ours stock; do
		median <"$dir/$who" | awk '{ printf "%.4g (%.4g-%.4g)\t", $1, $2, $3 }'
		rm "$dir/$who"
	done | awk -F '\t' -v "name=$name" '{ printf "%-30s %-24s %-24s %.2f\n", name, $1, $2, $1 / $2 }'
}

[ "$(id -u)" = 0 ] || die "must be run as root"
trap 'machine_down; rm -rf "$KEPT"' EXIT
trap 'exit 130' HUP INT TERM
machine_up
[ -z "$no_machine" ] || die "$no_machine"
dir=$work
other_sshd stock -f /etc/ssh/sshd_config -p 2030
server_up
sed -i '/KexAlgorithms/d' "$work/ssh_config" # the tests spare themselves the newer ones
printf 'Host stock\nUser stock\nPort 2030\n' | cat - "$work/ssh_config" >"$work/config"
mv "$work/config" "$work/ssh_config"
in_machine useradd -r -M -d / -s /usr/local/bin/echo-shell stock
printf 'stock:%s\n' "$PASS" | in_machine chpasswd

printf '%s, %s CPUs, Linux %s, %s runs\n\n' "$(ssh -V 2>&1 | cut -d , -f 1)" "$(nproc)" "$(uname -r)" "$RUNS"
printf '%-30s %-24s %-24s %s\n' '' ours stock ratio
row "from ssh to the first echo, ms" measure start -tt
row "a key and its echo, us" measure keys -tt
row "without a terminal, MB/s" measure bulk -T
row "with a terminal, MB/s" measure bulk -tt
row "memory of a session, KiB" memory
