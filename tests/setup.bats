#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh: what it puts on a machine, what it refuses, and taking it off again.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	machine_up
	need_machine
	dir=$work
	: >"$dir/clients"
}

teardown() {
	[ -z "$no_machine" ] || return 0
	show_log
	end_clients
	machine_down
}

# Takes a part of the line that a refusal must have, and setup.sh's environment;
# runs it, and sees that it is one line, and that nothing was done.
refuses() {
	local line=$1

	shift
	tree >"$work/before"
	run in_machine env "$@" ./setup.sh
	tree >"$work/after"
	same 1 "$status"
	has "${lines[${#lines[@]} - 1]}" "setup.sh: $line"
	same 1 "$(printf '%s\n' "$output" | grep -vc '^echo-shell: ')"
	cmp "$work/before" "$work/after"
}

@test "the server is up, and all that a newcomer needs is said" {
	server_up
	cat "$work/said"
	grep -qx "  log in     ssh -p 2022 demo@[a-z0-9.]* .*" "$work/said"
	grep -qxE "  password   [a-hjkmnp-z2-9]{20} .*" "$work/said"
	fingerprint=$(in_machine ssh-keygen -lf /etc/ssh/echo-shell/ssh_host_key)
	grep -qx "  host key   $(echo "$fingerprint" | cut -d' ' -f2)" "$work/said"
	grep -qx "  leave      Enter ~ \." "$work/said"
	grep -qx "  take off   ./setup.sh uninstall" "$work/said"
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
	in_machine test -d /run/systemd/system ||
		has "$(tail -n 1 "$work/said")" "after a reboot the server does not come back by itself"
}

@test "the password is kept nowhere but in shadow, and is in no process's arguments" {
	: >"$work/mark"
	mkdir "$work/bin"
	for tool in chpasswd ssh useradd; do
		cat >"$work/bin/$tool" <<-END
			#!/bin/sh
			cat /proc/[0-9]*/cmdline >>"$work/arguments"
			exec $(command -v $tool) "\$@"
		END
		chmod 755 "$work/bin/$tool"
	done
	PATH=$work/bin:$PATH server_up
	[ -s "$work/arguments" ]
	fails grep -qF "$PASSWORD" "$work/arguments"
	written=$(in_machine find /etc /usr/local /var /run /root /tmp -type f -newer "$work/mark" \
		! -path "$work/*" -exec grep -lF "$PASSWORD" {} +) || :
	same "" "$written"
	has "$(in_machine getent shadow demo)" 'demo:$'
	same 600 "$(in_machine stat -c %a /etc/ssh/echo-shell/ssh_host_key)"
}

@test "a second run changes nothing, restarts nothing, and says so" {
	server_up
	in_machine cat /run/echo-shell.pid >"$work/pid1"
	tree >"$work/before"
	run in_machine ./setup.sh
	same 0 "$status"
	has "$output" "nothing was changed or restarted"
	fails has "$output" "  password "
	tree >"$work/after"
	cmp "$work/before" "$work/after"
	in_machine cat /run/echo-shell.pid | cmp - "$work/pid1"
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
}

@test "a second run starts a server that is down" {
	server_up
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'if [ -d /run/systemd/system ]; then systemctl stop echo-shell; else kill "$(cat /run/echo-shell.pid)"; fi'
	wait_for fails in_machine test -e /run/echo-shell.pid
	in_machine ./setup.sh
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
}

@test "PORT=n takes another port, at the first run and later" {
	PORT=2345 server_up
	same 2345 "$port"
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
	in_machine ./setup.sh
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
	in_machine env PORT=2346 ./setup.sh
	port=2346
	client_setup
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
}

@test "a port that is none or is taken is refused" {
	for bad in 0 02022 65536 99999999 ssh -1 '2022 '; do
		refuses "PORT=$bad is not a port" PORT="$bad"
	done
	mkdir -p "$work/sshd"
	in_machine sh -c "mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f '$work/sshd/key'
		/usr/sbin/sshd -f /dev/null -h '$work/sshd/key' -p 2022 -o PidFile='$work/sshd/pid'"
	wait_for [ -s "$work/sshd/pid" ]
	refuses "port 2022 is taken: choose another one"
	in_machine kill "$(cat "$work/sshd/pid")"
}

@test "an account demo that is not ours is refused" {
	in_machine useradd -M demo
	refuses "the account demo exists and is not echo-shell's: rename or remove it first"
	in_machine userdel demo
}

@test "being someone else than root is refused" {
	in_machine useradd -M "stranger$$"
	run in_machine setpriv --reuid="stranger$$" --clear-groups ./setup.sh
	in_machine userdel "stranger$$"
	same "1 setup.sh: must be run as root: sudo ./setup.sh" "$status $output"
}

@test "missing programs are named where there is no apt-get" {
	mkdir "$work/bin"
	for tool in sh env dirname id grep sed cut cat rm mktemp getent awk mawk printf tail tr ssh ssh-keygen; do
		ln -s "$(command -v "$tool")" "$work/bin/$tool"
	done
	refuses "missing here: cc make cmp" PATH="$work/bin"
}

@test "an sshd that refuses the configuration is refused" {
	mkdir "$work/bin"
	printf '#!/bin/sh\ncase $* in */config) set -- "$@" -o NoSuchOption=yes ;; esac\nexec %s "$@"\n' \
		"$(command -v /usr/sbin/sshd)" >"$work/bin/sshd"
	chmod 755 "$work/bin/sshd"
	refuses "this sshd refuses the server's configuration: command-line" PATH="$work/bin:$PATH"
	has "$output" "Bad configuration option: NoSuchOption"
}

@test "a system's sshd that is broken is not touched" {
	in_machine cp -p /etc/ssh/sshd_config "$work/kept"
	in_machine sh -c 'echo "NoSuchOption yes" >>/etc/ssh/sshd_config'
	refuses "the system's sshd refuses its own configuration: "
	in_machine cp -p "$work/kept" /etc/ssh/sshd_config
}

@test "a system's sshd that does not read the lock is left as it was, without an account" {
	in_machine cp -p /etc/ssh/sshd_config "$work/kept"
	in_machine sed -i '/^Include/d' /etc/ssh/sshd_config
	refuses "/etc/ssh/sshd_config does not hold demo to /etc/ssh/sshd_config.d/echo-shell.conf (denygroups echo-shell): put the line 'Include /etc/ssh/sshd_config.d/*.conf' at its top, before every Match; all that this run did is undone"
	in_machine cp -p "$work/kept" /etc/ssh/sshd_config
	fails in_machine getent passwd demo
}

@test "a login that fails in the end leaves nothing" {
	mkdir "$work/bin"
	printf '#!/bin/sh\necho broken >&2; exit 255\n' >"$work/bin/ssh"
	chmod 755 "$work/bin/ssh"
	refuses "the server is up but demo cannot log in: broken; all that this run did is undone" PATH="$work/bin:$PATH"
	fails in_machine getent passwd demo
	fails in_machine getent group echo-shell
	# shellcheck disable=SC2016 # expanded in the machine
	fails in_machine sh -c 'kill -0 "$(cat /run/echo-shell.pid)"'
}

@test "a server that is fine but for terminals leaves nothing" {
	in_machine sed -i 's/^	tty = raw_mode();/& if (tty) leave(0);/' echo-shell.c
	refuses "the server is up but gives demo no terminal: "
	fails in_machine getent passwd demo
}

@test "what the unit leaves root of its powers is enough for a terminal, wherever the system is strict" {
	server_up
	powers=$(sed -n 's/^CapabilityBoundingSet=/-all /p' "$top/sshd_config.d/port-2022/echo-shell.service" |
		tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
	has "$powers" "-all,+"
	# systemd mounts ptys with mode 600, and Fedora has a shadow that is closed to root.
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine unshare --mount sh -c 'mount -t tmpfs tmpfs /mnt && cp /etc/shadow /mnt && chmod 0 /mnt/shadow && mount --bind /mnt/shadow /etc/shadow &&
		mount -t devpts -o newinstance,mode=600,ptmxmode=666 devpts /dev/pts &&
		exec setpriv --bounding-set="$0" --no-new-privs "$@"' "$powers" \
		"$(command -v sshd)" -D -e -f /etc/ssh/echo-shell/sshd_config -o Port=2044 -o PidFile=/run/powers.pid >"$work/powers" 2>&1 &
	wait_for in_machine test -s /run/powers.pid
	mkfifo "$dir/in"
	client ssh -tt -F "$work/ssh_config" -p 2044 demo <>"$dir/in" >"$dir/out" 2>/dev/null 3>&- &
	printf k >"$dir/in"
	wait_for grep "echo: 'k'" "$dir/out" || cat "$work/powers"
	in_machine kill "$(in_machine cat /run/powers.pid)"
	grep -q "echo: 'k'" "$dir/out"
}

# A stand-in for systemd, which runs in no namespace: it does for the two units what
# setup.sh asks for, with a socket if there is one. The next start fails where /run/fail
# is. As by a client that is there at every moment, a service that is stopped before its
# socket is started again, and /run/again tells.
systemd_up() {
	in_machine mkdir -p /run/systemd/system /etc/systemd/system
	mkdir "$work/bin"
	cat >"$work/bin/systemctl" <<-'END'
		#!/bin/sh
		[ "$1" != -q ] || shift
		verb=$1
		shift
		for unit in "$@"; do
			[ -e "/etc/systemd/system/$unit" ] || exit 1
		done
		case "$verb $*" in
		enable*) for unit in "$@"; do : >"/run/enabled.$unit"; done ;;
		disable*) for unit in "$@"; do rm -f "/run/enabled.$unit"; done ;;
		is-enabled*) [ -e "/run/enabled.$1" ] || exit 1 ;;
		is-active*) [ -e /run/open ] || exit 1 ;;
		stop*.socket) rm -f /run/open ;;
		esac
		case "$verb $*" in
		stop*.service*)
			if [ -e /run/main ]; then
				main=$(cat /run/main)
				kill "$main"
				for _ in $(seq 200); do
					! kill -0 "$main" 2>/dev/null || sleep 0.05 # its port is not free before
				done
				rm /run/main
			fi
			[ -e /run/open ] || exit 0
			: >/run/again
			;;
		start*)
			[ ! -e /run/fail ] || { rm /run/fail; exit 1; }
			$(sed -n 's/^ExecStartPre=//p' /etc/systemd/system/echo-shell.service) || exit 1
			;;
		*) exit 0 ;;
		esac
		set -- $(sed -n 's/^ExecStart=//p' /etc/systemd/system/echo-shell.service)
		if [ -e /run/enabled.echo-shell.socket ]; then
			: >/run/open
			set -- tests/bench listen "$(sed -n 's/^ListenStream=0.0.0.0://p' /etc/systemd/system/echo-shell.socket)" -- "$@"
		fi
		"$@" >/run/log 2>&1 3>&- &
		echo $! >/run/main
	END
	chmod 755 "$work/bin/systemctl"
}

# Prints what listens on port 2022, whether the socket's unit is there and
# enabled, and what a login gets.
listening() {
	# shellcheck disable=SC2016 # awk's
	in_machine awk '$4 == "0A" && $2 ~ /:07E6$/ { print $2 }' /proc/net/tcp | tr '\n' ' '
	in_machine sh -c 'ls /etc/systemd/system/echo-shell.socket /run/enabled.echo-shell.socket' 2>/dev/null | tr '\n' ' '
	printf k | client ssh -F "$work/ssh_config" demo | tr -d '\r'
}

@test "a socket of systemd's is used, but for an administrator's ListenAddress; a failure goes back to what was" {
	[ -z "${TEST_HERE-}" ] || skip "takes systemd's place: only in namespaces"
	socket='/etc/systemd/system/echo-shell.socket /run/enabled.echo-shell.socket '
	grep -qE "LISTEN_FDS|sd_listen_fds" "$(command -v sshd)" || socket= # this one takes none
	systemd_up
	PATH=$work/bin:$PATH
	server_up
	all="00000000:07E6 ${socket}echo: 'k'"
	same "$all" "$(listening)"
	[ -n "$socket" ] || return 0
	in_machine sed -i 's/^Port.*/&\nListenAddress 127.0.0.1/' /etc/ssh/echo-shell/sshd_config
	in_machine ./setup.sh
	same "0100007F:07E6 echo: 'k'" "$(listening)"
	in_machine sed -i /^ListenAddress/d /etc/ssh/echo-shell/sshd_config
	in_machine touch /run/fail
	fails in_machine ./setup.sh
	same "00000000:07E6 echo: 'k'" "$(listening)"
	in_machine ./setup.sh
	same "$all" "$(listening)"
	# An administrator's mistake is found before it does harm.
	in_machine cp /etc/ssh/echo-shell/sshd_config /run/good
	in_machine sh -c 'echo NoSuch yes >>/etc/ssh/echo-shell/sshd_config'
	fails in_machine ./setup.sh
	same "$all" "$(listening)"
	in_machine cp /run/good /etc/ssh/echo-shell/sshd_config
	# A server that is down is started though its socket is open.
	pid=$(in_machine cat /run/main)
	in_machine kill "$pid"
	wait_for fails in_machine kill -0 "$pid"
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'tests/bench listen 2022 -- sleep 100 >/dev/null 2>&1 3>&- & echo $! >/run/main'
	# shellcheck disable=SC2016 # expanded anew each time
	wait_for eval 'same "${all%echo:*}" "$(listening)"'
	in_machine ./setup.sh
	same "$all" "$(listening)"
	in_machine ./setup.sh uninstall
	same "" "$(listening)"
	fails in_machine test -e /run/again
}

@test "the system's sshd is reloaded, keeps demo out, and is for others what it was" {
	[ -z "${TEST_HERE-}" ] || [ ! -e /run/sshd.pid ] || skip "this machine's own sshd runs"
	in_machine useradd -M -d / -s /bin/sh "stranger$$"
	printf 'stranger%s:known\n' "$$" | in_machine chpasswd
	system_sshd_up -p 2200
	before=$(in_machine cat /run/sshd.pid)
	port=2200
	client_setup
	mkfifo "$work/in"
	PASSWORD=known ssh_demo "stranger$$@demo" cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"

	server_up
	same "$before" "$(in_machine cat /run/sshd.pid)"
	has "$(in_machine cat /run/system-sshd.log)" "Received SIGHUP; restarting."
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"

	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
	run ssh_demo -p 2200 demo </dev/null
	has "$output" "Permission denied"
	has "$(in_machine cat /run/system-sshd.log)" "not allowed because a group is listed in DenyGroups"
	same hello "$(PASSWORD=known ssh_demo -p 2200 "stranger$$@demo" echo hello)"

	in_machine ./setup.sh uninstall
	echo 3 >"$work/in"
	wait_for grep -qx 3 "$work/out"
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'kill "$(cat /run/sshd.pid)"'
	end_clients
	wait_for in_machine userdel "stranger$$"
}

# Prints how many processes here are sshd or the program.
servers() {
	in_machine sh -c 'cat /proc/[0-9]*/comm | grep -c -e ^sshd -e echo-shell || :'
}

@test "uninstall ends the sessions and leaves the machine as it was" {
	tree >"$work/before"
	before=$(servers)
	server_up
	mkfifo "$work/in"
	ssh_demo demo <>"$work/in" &
	wait_for serving 1
	run in_machine ./setup.sh uninstall
	same 0 "$status"
	serving 0
	# shellcheck disable=SC2016 # expanded in the machine
	wait_for eval 'same "$before" "$(servers)"'
	tree >"$work/after"
	diff "$work/before" "$work/after"
	run in_machine ./setup.sh uninstall
	same "0 echo-shell: nothing to do: nothing that setup.sh put on is here" "$status $output"
}

@test "what an administrator changed since is kept: by a second run, and beside it by uninstall" {
	server_up
	in_machine sh -c 'echo "MaxAuthTries 2" >>/etc/ssh/echo-shell/sshd_config'
	run in_machine ./setup.sh
	same 0 "$status"
	has "$output" "kept /etc/ssh/echo-shell/sshd_config"
	in_machine grep -qx "MaxAuthTries 2" /etc/ssh/echo-shell/sshd_config
	run in_machine ./setup.sh uninstall
	same 0 "$status"
	has "$output" "/etc/ssh/echo-shell/sshd_config.saved"
	in_machine ./setup.sh
	in_machine sh -c 'echo "MaxAuthTries 1" >>/etc/ssh/echo-shell/sshd_config'
	run in_machine env PORT=2345 ./setup.sh
	same 1 "$status"
	has "$output" "setup.sh: /etc/ssh/echo-shell/sshd_config is kept and has Port 2022: change it there"
	in_machine ./setup.sh uninstall
	in_machine grep -qx "MaxAuthTries 1" /etc/ssh/echo-shell/sshd_config.saved~
	in_machine grep -qx "MaxAuthTries 2" /etc/ssh/echo-shell/sshd_config.saved
	in_machine rm -r /etc/ssh/echo-shell
}

@test "an option that this sshd does not know is left out, one that it knows is live" {
	in_machine sed -i '/^Port/i #? NoSuchOption yes\n#? MaxStartups 98' sshd_config.d/port-2022/sshd_config
	server_up
	in_machine grep -qx "#? NoSuchOption yes" /etc/ssh/echo-shell/sshd_config
	in_machine grep -qx "MaxStartups 98" /etc/ssh/echo-shell/sshd_config
}
