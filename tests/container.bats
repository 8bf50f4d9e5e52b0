#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# In a container: "setup.sh run" as its first process, and where mounts are refused.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# What Docker leaves root, and Podman; CRI-O's has no SYS_CHROOT.
docker=chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,net_bind_service,sys_chroot,kill,audit_write

# Run a command with these capabilities only.
with_caps() {
	in_machine setpriv --bounding-set="-all,+${1//,/,+}" "${@:2}"
}

# Run "setup.sh run" as the first process of a container with an environment: $1 is its name,
# $2 its capabilities.
container() {
	in_machine unshare --mount --pid --fork sh -c 'read -r pid rest </proc/self/stat && echo "$pid" >"$0/pid.$1" &&
		mount -t proc proc /proc && exec setpriv --bounding-set="-all,+$2" env "$3" ./setup.sh run' \
		"$work" "$1" "${2//,/,+}" "${3-X=}" >"$work/out.$1" 2>"$work/err.$1" 3>&- &
	container=$!
}

# Wait until a container's port is open.
ready() {
	wait_for in_machine grep -q "$(printf ' 00000000:%04X .* 0A ' "${port-2022}")" /proc/net/tcp || {
		cat "$work"/out.* "$work"/err.*
		return 1
	}
	port=${port-2022}
	client_setup
}

# End a container as its manager does, which waits 10 s, and see that all of it ends.
ends() {
	local status=0

	SECONDS=0
	in_machine kill "$(cat "$work/pid.$1")"
	wait "$container" || status=$?
	same 0 "$status"
	[ "$SECONDS" -lt 9 ]
	serving 0
}

@test "run: the port opens when a login works, and TERM ends it" {
	shim sshd 'case " $* " in *" -D "*) env >"'"$work"'/env" ;; esac'
	PASS=known
	container new "$docker" PASSWORD=known
	ready
	echoes # the first try
	has "$(cat "$work/out.new")" "  log in     ssh -p 2022 demo@127.0.0.1"
	has "$(cat "$work/out.new")" "  password   the one in PASSWORD"
	fails grep known "$work/out.new" "$work/err.new"
	has "$(cat "$work/err.new")" "Accepted password for demo"
	same sshd "$(in_machine cat "/proc/$(cat "$work/pid.new")/comm")"
	in_machine grep -q raw-pty.so "/proc/$(cat "$work/pid.new")/maps"
	fails in_machine grep -qz PASSWORD "/proc/$(cat "$work/pid.new")/environ"
	hold one
	ends new
	# A second start has the key and the password, and may change them.
	in_machine ssh-keygen -q -t ed25519 -N '' -f "$work/key"
	key=$(in_machine cat "$base/now/ssh_host_key")
	container two "$docker"
	ready
	echoes
	same "$key" "$(in_machine cat "$base/now/ssh_host_key")"
	ends two
	container three "$docker" HOST_KEY="$work/key"
	ready
	echoes
	in_machine cmp "$work/key" "$base/now/ssh_host_key"
	ends three
}

@test "run: what a container lacks is named before its port opens" {
	for lack in sys_chroot audit_write; do
		container "$lack" "$(sed "s/,$lack//" <<<"$docker")"
		wait "$container" || :
		if grep -q '  log in' "$work/out.$lack"; then
			# No kernel with audit in this namespace asks for it.
			[ "$lack" = audit_write ]
			continue
		fi
		has "$(cat "$work/err.$lack")" "; a capability is missing: start this container with --cap-add $(tr '[:lower:]' '[:upper:]' <<<"$lack"); nothing is installed"
		fails in_machine grep -q "$(printf ':%04X .* 0A ' 2022)" /proc/net/tcp
	done
}

@test "run: where mounts are allowed, guests are no accounts of the container's; beside a server it is refused" {
	PASS=known
	container one all PASSWORD=known
	ready
	echoes
	fails in_machine getent passwd demo
	ends one
	setup_sh
	says 1 "setup.sh: the server runs already, with pid $(server_pid)" run
	echoes
}

@test "where mounts are refused, ./setup.sh makes guests of the container, in the background, and says so" {
	tree >"$work/before"
	run with_caps "$docker" ./setup.sh
	same 0 "$status"
	has "$output" "echo-shell: no mounts here: the guests are accounts of this container"
	PASS=$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' <<<"$output")
	port=2022
	client_setup
	echoes
	with_caps "$docker" ./setup.sh status
	run with_caps "$docker" ./setup.sh add-user root
	has "$output" "setup.sh: 'root' is no name for a guest: an account has it"
	with_caps "$docker" ./setup.sh add-user ann >"$work/added"
	PASS=$(sed -n 's/^ann://p' "$work/added") echoes ann@demo
	hold one
	PASS=$(sed -n 's/^ann://p' "$work/added") hold ann ann@demo
	with_caps "$docker" ./setup.sh remove-user ann
	serving 1
	held one
	pid=$(server_pid)
	run with_caps "$docker" ./setup.sh
	has "$output" "nothing was changed or restarted"
	same "$pid" "$(server_pid)"
	held one
	run with_caps "$docker" env PORT=2044 ./setup.sh
	has "$output" "  log in     ssh -p 2044 demo@"
	serving 0
	port=2044
	client_setup
	echoes
	# Somebody takes the account away, and another gets its uid.
	uid=$(in_machine id -u _echo-shell)
	in_machine sed -i.kept '/^_echo-shell:/d' /etc/passwd /etc/shadow /etc/group
	run with_caps "$docker" ./setup.sh status
	has "$output" "  account    _echo-shell, which keeps the guests' uid $uid, is gone"
	in_machine useradd -r -o -u "$uid" -M other
	with_caps "$docker" ./setup.sh
	with_caps "$docker" ./setup.sh status
	echoes
	fails same "$uid" "$(in_machine id -u demo)"
	in_machine userdel other
	in_machine rm /etc/passwd.kept /etc/shadow.kept /etc/group.kept
	# What an uninstall goes by may be gone.
	hold two
	in_machine sed -i '/^_echo-shell:/d' /etc/passwd /etc/shadow
	in_machine rm /run/echo-shell.pid
	with_caps "$docker" ./setup.sh uninstall
	same_tree "$work/before"
	fails there 'cat /proc/[0-9]*/comm | grep -e ^sshd -e ^echo'
	# A run that was killed leaves the guest of its trial.
	shim ssh 'kill -KILL "$(cat '"$work"'/pid.setup)"; exit 255'
	run with_caps "$docker" env "$shims" sh -c 'echo $$ >"$0/pid.setup"; exec ./setup.sh' "$work"
	in_machine grep -q ^_trial: /etc/passwd
	with_caps "$docker" ./setup.sh uninstall
	same_tree "$work/before"
}

@test "where mounts are refused, another sshd that listens, and an account demo, are refused" {
	with_caps "$docker" "$(command -v sshd)" -f /dev/null -h /etc/ssh/ssh_host_ed25519_key -p 2299 -o PidFile=/run/other.pid
	wait_for in_machine test -s /run/other.pid
	run with_caps "$docker" ./setup.sh
	same 1 "$status"
	has "$output" "setup.sh: an sshd listens in this container, with pid $(in_machine cat /run/other.pid), and would let guests in: end it first"
	end_process "$(in_machine cat /run/other.pid)"
	in_machine useradd -M demo
	tree >"$work/before"
	run with_caps "$docker" ./setup.sh
	same 1 "$status"
	same_tree "$work/before"
	has "$output" "setup.sh: 'demo' is no name for a guest: an account has it; nothing is installed"
}
