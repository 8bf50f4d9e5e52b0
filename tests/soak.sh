#!/usr/bin/env bash
# SPDX-License-Identifier: ISC
#
# make soak, as root: how many sessions the server holds and what they cost, what it
# does to attacks for as long as they take, in figures. In a machine of its own, as
# the tests have it; SESSIONS=n for another number than 400. Ends non-zero where a
# line is wrong or lost, a good login stays out, or something is left behind.

# shellcheck disable=SC2016 # for awk and for inner shells
set -euo pipefail
BATS_TEST_DIRNAME=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

sessions=${SESSIONS-400}
exec 2> >(grep -v ' Killed ' >&2) # bash tells of each client that is killed in the end
ulimit -n "$(ulimit -Hn)"

# Takes what they are, and pids on stdin; prints how many, and what memory each has:
# all that is its own, and its part of what is shared.
memory() {
	in_machine sh -c 'while read -r pid; do cat "/proc/$pid/smaps_rollup" && echo; done 2>/dev/null' |
		awk -v "name=$1" '/^Pss:/ { pss += $2; n++ } /^Private/ { private += $2 }
			END { if (n) printf "  %-28s %5d processes, each %5d KiB private, %5d KiB with its share\n", name, n, private / n, pss / n }'
}

# Takes a user's number; prints the pids of the sshd of the sessions.
sshds() {
	in_machine sh -c 'cat /proc/[0-9]*/status 2>/dev/null || :' | # some end meanwhile
		awk -v "uid=$1" -v "listener=$(in_machine cat /run/echo-shell.pid)" '
			/^Name:/ { sshd = $2 ~ /^sshd/ } /^Pid:/ { pid = $2 }
			/^Uid:/ && sshd && $2 == uid && pid != listener { print pid }'
}

# Logs in n times, as many at a time as MaxStartups takes.
many_masters() {
	local i

	for ((i = 1; i <= $1; i += 40)); do
		masters "$i" $((i + 39 < $1 ? i + 39 : $1))
	done
}

# Takes kind, sessions a connection, lines and connections.
held() {
	local begun=$SECONDS

	dir=$(mktemp -d "$work/test.XXXXXX")
	: >"$dir/clients"
	many_masters "$4"
	echo "$4 logins in $((SECONDS - begun)) s"
	mkfifo "$dir/in"
	in_machine tests/channels load "$1" "$2" "$3" "$dir"/m* <"$dir/in" >"$dir/out" 2>&1 &
	exec 9>"$dir/in"
	until [ -s "$dir/out" ]; do sleep 1; done
	echo "$1: $(cat "$dir/out")"
	[ "$(served | wc -l)" = $(($2 * $4)) ]
	sshds 0 | memory "sshd, root's"
	sshds "$(in_machine id -u demo)" | memory "sshd, the user's"
	served | memory "echo-shell"
	exec 9>&-
	wait "$!"
	end_clients
	wait_for serving 0
}

machine_up
[ -z "$no_machine" ] || { echo "soak: $no_machine" >&2; exit 1; }
trap 'end_clients 2>/dev/null; machine_down 2>/dev/null' EXIT
server_up
# Logging in so often takes longer than a connection without a session may stay.
in_machine sed -i '/UnusedConnectionTimeout/d' /etc/ssh/echo-shell/echo-shell.conf
in_machine sh -c 'kill -HUP "$(cat /run/echo-shell.pid)"'

held both 1 200 "$sessions"
held pty 10 100 "$sessions"

dir=$(mktemp -d "$work/test.XXXXXX")
: >"$dir/clients"
client bash -c 'for ((i = 0; i < 500; i++)); do exec {fd}<>"/dev/tcp/127.0.0.1/$0"; done
	: >"$1/connected"; exec sleep 1000' "$port" "$dir" &
wait_for [ -e "$dir/connected" ]
echo "500 connections from 127.0.0.1 that never log in; a good login"
printf '  %-28s ' "from another address"
good_login 45
printf '  %-28s ' "from the same"
good_login 45 -b 127.0.0.1
sshds 0 | memory "sshd before a login, root's"
end_clients

begun=$SECONDS
for ((i = 0; i < 500; i++)); do
	PASSWORD=wrong ssh_demo demo </dev/null >/dev/null 2>&1 &
	if [ $((i % 50)) = 49 ]; then
		[ "$i" != 249 ] || echo "500 wrong passwords from as many addresses, 50 at a time; a good login $(good_login 45)"
		# shellcheck disable=SC2046 # numbers; all but the filter of stderr, which does not end
		wait $(jobs -p) || :
	fi
done
echo "  all were refused in $((SECONDS - begun)) s"

# The listener and nothing else must be left, also of clients that are cut off.
mkfifo "$dir/in"
for option in -T -tt; do
	ssh_demo "$option" demo <>"$dir/in" >/dev/null 2>&1 &
done
wait_for serving 2
in_machine sh -c 'echo 8 >/sys/class/net/lo/flags'
begun=$SECONDS
until serving 0; do sleep 1; done
echo "clients cut off are gone after $((SECONDS - begun)) s"
in_machine sh -c 'echo 9 >/sys/class/net/lo/flags'
end_clients
wait_for eval '[ "$(in_machine sh -c "cat /proc/[0-9]*/comm" | grep -c ^sshd)" = 1 ]'
