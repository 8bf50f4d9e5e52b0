#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# In a container: "setup.sh run" as its first process, and where mounts are refused.

# shellcheck disable=SC2034 # client.bash reads it
each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# What Docker leaves root, and Podman; CRI-O's has no SYS_CHROOT.
docker=chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,net_bind_service,sys_chroot,kill,audit_write

# Run a command with these capabilities only.
with_caps() {
	in_machine setpriv --bounding-set="-all,+${1//,/,+}" "${@:2}"
}

# Run "setup.sh run" as the first process of a container: $1 is its name, $2 its
# capabilities, $3 setup.sh, and then comes its environment.
container() {
	in_machine unshare --mount --pid --fork --kill-child sh -c 'read -r pid rest </proc/self/stat && echo "$pid" >"$0/pid.$1" &&
		mount -t proc proc /proc && caps=$2 script=$3 && shift 3 &&
		exec setpriv --bounding-set="-all,+$caps" env "$@" "$script" run' \
		"$work" "$1" "${2//,/,+}" "${@:3}" >"$work/out.$1" 2>"$work/err.$1" 3>&- &
	container=$!
}

# Wait until a container's port is open, or its setup.sh has ended.
ready() {
	run_is_at open_or_over
	listening "$port" || {
		cat "$work"/out.* "$work"/err.*
		return 1
	}
	client_setup
}

open_or_over() {
	listening "$port" || ! kill -0 "$container" 2>/dev/null
}

# End a container as its manager does, and see that all of it ends. A first process gets a
# signal only if it handles it.
ends() {
	local status=0

	in_machine kill "$(<"$work/pid.$1")"
	wait_for refute kill -0 "$container"
	wait "$container" || status=$?
	assert_equal 0 "$status"
	wait_for serving 0
}

# Return whether the last login of the trial waits, or setup.sh has ended. Note a port that
# is open.
trial_waits() {
	! listening "$port" || : >"$work/early"
	[ -e "$work/trial" ] || ! kill -0 "$container" 2>/dev/null
}

# Wait as wait_for does, but for a whole run of setup.sh, which other tests wait for without
# a limit.
run_is_at() {
	LIMIT=$((LIMIT * 10)) wait_for "$@"
}

@test "run: the port is shut until a login has worked; TERM ends it; a second start has key and password" {
	port=2022 PASS=known
	shim ssh "case \" \$* \" in *' -tt '*) : >'$work/trial'; until [ -e '$work/go' ]; do sleep 0.1; done ;; esac"
	container one "$docker" ./setup.sh "$shims" PASSWORD=known
	run_is_at trial_waits
	[ -e "$work/trial" ]
	[ ! -e "$work/early" ]
	: >"$work/go"
	ready
	echoes # the first try
	lines_in "$work/out.one" "  password   the one in PASSWORD" "  log in     ssh -p 2022 demo@127.0.0.1    # from elsewhere: this machine's name" \
		"echo-shell: mounts are refused here: guests are accounts of this container"
	refute grep known "$work/out.one" "$work/err.one"
	assert_contains "$(<"$work/err.one")" "Accepted password for demo"
	pid=$(<"$work/pid.one")
	assert_equal sshd "$(<"$proc/$pid/comm")"
	grep -q raw-pty.so "$proc/$pid/maps"
	refute grep -qz PASSWORD "$proc/$pid/environ"
	hold one
	key=$(<"$root$state/ssh_host_ed25519_key")
	ends one
	container two "$docker" ./setup.sh
	ready
	echoes
	assert_equal "$key" "$(<"$root$state/ssh_host_ed25519_key")"
	refute grep '^  password' "$work/out.two"
	ends two
}

@test "run: a product of the image's is used, and stays when a first run fails, as without SYS_CHROOT" {
	port=2022 PASS=known
	in_machine make -s install-server UNITDIR=/usr/local/lib # a container needs no unit
	mkdir "$work/alone"
	cp "$top/setup.sh" "$work/alone/"
	tree >"$work/before"
	container lacks "${docker/,sys_chroot/}" "$work/alone/setup.sh" PASSWORD=known
	wait "$container" && status=0 || status=$?
	assert_equal 1 "$status"
	assert_contains "$(<"$work/err.lacks")" "chroot"
	assert_contains "$(<"$work/err.lacks")" "a container: see README"
	[ ! -s "$log" ] # there was no listener
	refute grep '  log in' "$work/out.lacks"
	same_tree "$work/before"
	container works "$docker" "$work/alone/setup.sh" PASSWORD=known
	ready
	echoes
	ends works
}

@test "run: what cannot be written is named, and who is not root; nothing is left" {
	tree >"$work/before"
	for folder in /etc /run; do
		run there 'exec unshare --mount sh -c "mount --bind $0 $0 && mount -o remount,bind,ro $0 && exec ./setup.sh run"' "$folder"
		assert_equal "1 setup.sh: $folder is read-only: make it writable (in a container, by a tmpfs or a volume)" "$status $output"
	done
	run in_machine setpriv --reuid=65534 --clear-groups ./setup.sh run
	assert_equal "1 setup.sh: run needs root, and this container's user is 65534: use --user 0" "$status $output"
	same_tree "$work/before"
}

@test "run: where mounts are allowed, guests are no accounts of the container's; beside a server it is refused" {
	restore
	says 1 "setup.sh: the server runs already, with pid $(server_pid)" run
	echoes
	end_process "$(server_pid)"
	container one all ./setup.sh
	ready
	echoes
	refute in_machine getent passwd demo
	ends one
}

@test "where mounts are refused, ./setup.sh makes guests of the container, and uninstall leaves its accounts as they were" {
	tree >"$work/before"
	with_caps "$docker" ./setup.sh >"$work/said"
	lines_in "$work/said" "echo-shell: mounts are refused here: guests are accounts of this container"
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/said")
	port=2022
	client_setup
	echoes
	demo=$PASS
	says 0 "  guest      demo, 0 connected" status # with all capabilities, as a privileged exec into it
	run with_caps "$docker" ./setup.sh add-user root
	assert_equal "1 setup.sh: 'root' is no name for a guest: an account has it" "$status $output"
	PASS=$(with_caps "$docker" ./setup.sh add-user ann | sed -n 's/^ann://p')
	hold ann ann@demo
	PASS=$demo
	hold one
	with_caps "$docker" ./setup.sh remove-user ann
	wait_for serving 1
	refute in_machine grep ^ann: /etc/passwd /etc/shadow
	held one
	pid=$(server_pid)
	with_caps "$docker" env PORT=2044 ./setup.sh >"$work/said"
	refute assert_equal "$pid" "$(server_pid)" >/dev/null
	held one
	port=2044
	client_setup
	echoes
	with_caps "$docker" ./setup.sh uninstall
	serving 0
	refute there 'cat /proc/[0-9]*/comm | grep ^sshd'
	same_tree "$work/before"
}

@test "where mounts are refused, uninstall removes what a run left that was killed in its trial" {
	tree >"$work/before"
	shim ssh 'kill -KILL "$(cat '"$work"'/pid.setup)"; exit 255'
	run with_caps "$docker" env "$shims" sh -c 'echo $$ >"$0/pid.setup"; exec ./setup.sh' "$work"
	assert_equal 137 "$status"
	in_machine grep -q ^_trial: /etc/passwd
	with_caps "$docker" ./setup.sh uninstall
	refute there 'cat /proc/[0-9]*/comm | grep ^sshd'
	same_tree "$work/before"
}

@test "where mounts are refused, an account demo is refused, and stays" {
	in_machine useradd -M demo
	tree >"$work/before"
	run with_caps "$docker" ./setup.sh
	assert_equal 1 "$status"
	assert_contains "$output" "setup.sh: 'demo' is no name for a guest: an account has it"
	same_tree "$work/before"
}
