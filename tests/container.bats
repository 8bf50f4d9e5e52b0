#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh run: the server in the foreground, as the first process of a container.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	machine_up
	need_machine "starts containers"
	port=$default_port
	PASS=known
}

# Run "setup.sh run" as process 1 of a container $1 with an environment. A shell is run
# before it, if there is one in $first.
container() {
	local name=$1

	shift
	in_machine unshare --mount --pid --fork sh -c 'read -r pid rest </proc/self/stat && echo "$pid" >"$0/pid.$1" &&
		mount -t proc proc /proc && eval "$2" && shift 2 && exec env "$@" ./setup.sh run' \
		"$work" "$name" "${first-:}" "$@" >"$work/out.$name" 2>"$work/err.$name" 3>&- &
	container=$!
}

# Wait until a container's port is open.
ready() {
	wait_for in_machine grep -q "$(printf ' 00000000:%04X .* 0A ' "$port")" /proc/net/tcp || {
		cat "$work"/out.* "$work"/err.*
		return 1
	}
	client_setup
}

# End a container as its manager does, and see that it ends, with all of its processes.
ends() {
	local begun=$SECONDS status=0

	in_machine kill "$(cat "$work/pid.$1")"
	wait "$container" || status=$?
	same 0 "$status"
	[ $((SECONDS - begun)) -le 2 ]
	serving 0
	fails in_machine test -e "/proc/$(cat "$work/pid.$1")"
}

@test "run: without an install it installs, and the port opens when a login works" {
	# Its title takes the place of the environment that /proc shows: ask at its start.
	shim sshd 'case " $* " in *" -D "*) env >"'"$work"'/env" ;; esac'
	container new "$shims" PASSWORD=known
	ready
	echoes # the first try
	has "$(cat "$work/out.new")" "  log in     ssh -p $port demo@"
	has "$(cat "$work/out.new")" "  password   the one in PASSWORD"
	fails grep known "$work/out.new" "$work/err.new"
	has "$(cat "$work/err.new")" "Accepted password for demo"
	same sshd "$(in_machine cat "/proc/$(cat "$work/pid.new")/comm")"
	grep -q ^MALLOC_ "$work/env"
	fails grep ^PASSWORD= "$work/env"
	mkfifo "$work/in"
	ssh_demo demo <>"$work/in" &
	wait_for serving 1
	ends new
}

@test "run: without a PASSWORD it prints one, and a second start needs no build, no packages and no trial" {
	container one
	ready
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/out.one")
	echoes
	ends one
	for tool in make cc apt-get ssh useradd chpasswd; do
		shim "$tool" "echo '$tool' >>'$work/called'"
	done
	# make only has to see that nothing is to be built.
	rm "$work/bin/make"
	tree >"$work/before"
	container two "$shims"
	ready
	echoes
	ends two
	[ ! -e "$work/called" ]
	same_tree "$work/before"
}

@test "run: an image that setup.sh made has its password and its key, and a start may change them" {
	in_machine ssh-keygen -q -t ed25519 -N '' -f "$work/key"
	PASSWORD=known setup_sh
	pid=$(server_pid)
	run in_machine timeout 20 env PORT=2023 ./setup.sh run
	same "1 setup.sh: the server runs already, with pid $pid" "$status $output"
	same "$pid" "$(server_pid)"
	stop_sshd
	container one
	ready
	echoes
	ends one
	PASS=other
	container two PASSWORD=other HOST_KEY="$work/key"
	ready
	echoes
	in_machine cmp "$work/key" "$own/ssh_host_key"
	ends two
}

@test "run: on a read-only root with a tmpfs on /run, without a compiler; else it says what it needs" {
	PASSWORD=known setup_sh
	stop_sshd
	first='for dir in /etc /usr/local/bin /var/log .; do mount --bind $dir $dir && mount -o remount,bind,ro $dir; done
		mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /usr/lib/gcc && cd "$PWD"'
	container one
	ready
	echoes
	ends one
	container two PASSWORD=other
	wait "$container" || :
	has "$(cat "$work/err.two")" "setup.sh: cannot write to /etc: run ./setup.sh when the image is made"
	container three HOST_KEY=/etc/ssh/ssh_host_ed25519_key
	wait "$container" || :
	has "$(cat "$work/err.three")" "setup.sh: cannot write to /etc: run ./setup.sh when the image is made"
	first="$first; mount -o remount,ro /run"
	container four
	wait "$container" || :
	same "setup.sh: cannot write to /run: in a container, mount a tmpfs there" "$(cat "$work/err.four")"
}

@test "run: two side by side on two ports, and neither on a port that is taken" {
	PASSWORD=known setup_sh
	stop_sshd
	# Each has an /etc and a /run of its own, as containers do.
	first='mkdir /tmp/etc && cp -a /etc/. /tmp/etc && mount --bind /tmp/etc /etc && mount -t tmpfs tmpfs /run'
	container one
	ready
	first=${first//\/tmp\/etc/\/tmp\/etc2}
	container two PORT=2345
	port=2345
	ready
	echoes
	port=$default_port
	client_setup
	echoes
	first=${first//\/tmp\/etc2/\/tmp\/etc3}
	container three
	wait "$container" || :
	same "setup.sh: port $default_port is taken: choose another one, PORT=n ./setup.sh" "$(cat "$work/err.three")"
}
