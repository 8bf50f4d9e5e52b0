#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh and the server: what it installs, what it refuses, and removing it again.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

# Run setup.sh in an environment, which it must refuse in one line that has $1, before it
# changes anything.
refuses() {
	local line=$1

	shift
	tree >"$work/before"
	run in_machine env "$@" ./setup.sh
	same 1 "$status"
	has "${lines[${#lines[@]} - 1]}" "setup.sh: $line"
	same 1 "$(printf '%s\n' "$output" | grep -vc '^echo-shell: ')"
	same_tree "$work/before"
}

@test "the server is up, and all that a newcomer needs is said" {
	server_up PORT= # with the real trial login
	cat "$work/said"
	grep -qx "  log in     ssh -p $default_port demo@[a-z0-9.]* .*" "$work/said"
	grep -qxE "  password   [a-hjkmnp-z2-9]{20} .*" "$work/said"
	grep -qx "  host key   $(in_machine ssh-keygen -lf "$own/ssh_host_key" | cut -d' ' -f2)" "$work/said"
	grep -qx "  leave      Enter ~ \." "$work/said"
	grep -qx "  remove     ./setup.sh uninstall" "$work/said"
	echoes
	fails in_machine getent passwd echo-shell-probe
	in_machine test -d /run/systemd/system ||
		has "$(tail -n 1 "$work/said")" "after a reboot the server does not come back by itself"
	SUDO_USER=joe says 0 "  remove     sudo ./setup.sh uninstall"
}

@test "passwords are kept nowhere but in shadow, and are in no process's arguments" {
	: >"$work/mark"
	for tool in chpasswd ssh useradd; do
		shim "$tool" "cat /proc/[0-9]*/cmdline >>'$work/arguments'"
	done
	server_up "$shims"
	first=$PASS
	in_machine env "$shims" PASSWORD=one-of-ours ./setup.sh >"$work/said"
	for PASS in "$first" one-of-ours; do
		[ -s "$work/arguments" ]
		fails grep -qF "$PASS" "$work/arguments"
		same "" "$(in_machine find /etc /usr/local/bin /var/log /run /tmp -type f -newer "$work/mark" \
			! -path "$work/*" -exec grep -lF "$PASS" {} + || :)"
	done
	fails grep -q one-of-ours "$work/said"
	echoes # with the other one, from now on
	has "$(in_machine getent shadow demo)" 'demo:$'
	same 600 "$(in_machine stat -c %a "$own/ssh_host_key")"
	for bad in '' $'x\ty'; do
		refuses "the password of demo is empty or has a control character" PASSWORD="$bad"
	done
}

@test "a second run changes nothing and says so, or starts a server that is down and puts a changed file back" {
	server_up
	pid=$(server_pid)
	tree >"$work/before"
	says 0 "nothing was changed or restarted"
	fails has "$output" "  password "
	same_tree "$work/before"
	same "$pid" "$(server_pid)"
	echoes
	stop_sshd
	setup_sh
	echoes
	pid=$(server_pid)
	in_machine sh -c 'echo "# mine" >>"$0/banner"' "$own"
	says 0 "echo-shell: updating $own/banner"
	fails same "$pid" "$(server_pid)"
	fails in_machine grep mine "$own/banner"
}

# Start another sshd on a port; its pid is in /run/other.pid.
other_sshd() {
	[ -e "$work/other" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/other"
	in_machine "$(command -v sshd)" -f /dev/null -h "$work/other" -p "$1" -o PidFile=/run/other.pid
	wait_for in_machine test -s /run/other.pid
}

@test "PORT=n takes another port, at the first run and later; one that is none or is taken is refused" {
	for bad in 0 02022 70000 99999999 ssh -1 '2022 '; do
		refuses "PORT=$bad is not a port" PORT="$bad"
	done
	refuses "this sshd refuses the server's configuration or $admin: " PORT=65536
	has "$output" "Badly formatted port number."
	other_sshd "$default_port"
	refuses "port $default_port is taken: choose another one"
	stop_sshd /run/other.pid
	server_up PORT=2345
	same 2345 "$port"
	echoes
	setup_sh
	echoes
	other_sshd 2346
	refuses "port 2346 is taken: choose another one" PORT=2346
	echoes
	stop_sshd /run/other.pid
	PORT=2346 setup_sh
	port=2346
	client_setup
	echoes
}

@test "an account demo or a group echo-shell that is not ours is refused, one with members by every command" {
	in_machine useradd -M demo
	refuses "the account demo exists and is not echo-shell's: rename or remove it, or take another name"
	in_machine userdel demo
	in_machine groupadd echo-shell
	refuses "echo-shell was installed here by hand; to remove that, give its users another group and shell, remove the group echo-shell, and reload ssh"
	in_machine groupdel echo-shell
	setup_sh
	in_machine useradd -M -d / "stranger$$"
	in_machine usermod -aG echo-shell "stranger$$"
	tree >"$work/before"
	for command in '' uninstall; do
		says_only 1 "setup.sh: group echo-shell has members that setup.sh did not make: stranger$$; take them out of it first (usermod -g, gpasswd -d)" $command
	done
	same_tree "$work/before"
	in_machine userdel "stranger$$"
}

@test "being someone else than root is refused, with what to type" {
	in_machine useradd -M "stranger$$"
	run in_machine setpriv --reuid="stranger$$" --clear-groups ./setup.sh add-user ann bob
	in_machine userdel "stranger$$"
	same "1 setup.sh: must be run as root: sudo ./setup.sh add-user ann bob" "$status $output"
	# It is the prompt that makes setup.sh ssh's askpass, and nothing else.
	ECHO_SHELL_PASSWORD=x run in_machine ./setup.sh uninstall
	same "0 echo-shell: nothing to do: nothing that setup.sh installed is here" "$status $output"
}

@test "missing programs are named where there is no apt-get" {
	rm "$work/project/echo-shell"
	need_machine "hides the machine's programs"
	tree >"$work/before"
	# Here are all programs but those.
	run in_machine unshare --mount sh -c 'mkdir /tmp/all && mount --bind /usr/bin /tmp/all && mount -t tmpfs tmpfs /usr/sbin &&
		mkdir /tmp/bin && for name in $(ls /tmp/all); do ln -s "/tmp/all/$name" "/tmp/bin/$name"; done &&
		rm -f /tmp/bin/ssh /tmp/bin/apt-get /tmp/bin/cc /tmp/bin/make && mount --bind /tmp/bin /usr/bin && exec ./setup.sh'
	same 1 "$status"
	has "$output" "setup.sh: missing here: sshd ssh useradd cc make; install them, or run this as root where apt-get is"
	same_tree "$work/before"
}

@test "an sshd that refuses the configuration is refused" {
	shim sshd 'case $* in */config) set -- "$@" -o NoSuchOption=yes ;; esac'
	refuses "this sshd refuses the server's configuration or $admin: command-line" "$shims"
	has "$output" "Bad configuration option: NoSuchOption"
}

@test "a build that fails says why, a full /run too, and nothing is changed" {
	in_machine sed -i 's/^main(int/nonsense &/' echo-shell.c
	refuses "cannot build: echo-shell.c:"
	has "$output" "error: "
	need_machine "mounts over the checkout and /tmp"
	cp "$top/echo-shell.c" "$work/project/"
	run in_machine unshare --mount sh -c 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec ./setup.sh'
	same 1 "$status"
	has "$output" "setup.sh: cannot build: "
	has "$output" "Read-only file system"
	run in_machine unshare --mount sh -c 'mount -t tmpfs -o nr_inodes=1 tmpfs /run; exec ./setup.sh'
	same 1 "$status"
	same "setup.sh: cannot write to /run: in a container, mount a tmpfs there" "$output"
}

@test "a login that fails in the end, or only with a terminal, leaves nothing" {
	shim ssh 'echo broken >&2; exit 255'
	refuses "the server is up but a login (ssh -T) gets no echo: broken; " "$shims"
	has "$output" "; all is as it was before"
	fails in_machine getent passwd demo
	fails in_machine getent group echo-shell
	fails in_machine grep -q "$(printf ':%04X .* 0A ' "$default_port")" /proc/net/tcp
	in_machine sed -i 's/^	raw_mode();/& if (tty) leave(0);/' echo-shell.c
	refuses "the server is up but a login (ssh -tt) gets no echo: "
	fails in_machine getent passwd demo
}

@test "connections of another user to 127.0.0.1 do not make the trial login fail" {
	# As if that user had seen the server start.
	cat >"$work/hold" <<-END
		echo \$\$ >>$work/clients
		for ((i = 0; i < 60; i++)); do exec {fd}<>/dev/tcp/127.0.0.1/$default_port; done
		: >$work/held
		exec sleep 1000
	END
	shim ssh "[ -e '$work/held' ] || bash '$work/hold' </dev/null >/dev/null 2>&1 9>&- &
		until [ -e '$work/held' ]; do sleep 0.1; done"
	in_machine env "$shims" ./setup.sh
}

@test "another process that takes one address of the port while the server starts is noticed" {
	cat >"$work/take" <<-'END'
		socket($s, PF_INET6, SOCK_STREAM, 0) && setsockopt($s, IPPROTO_IPV6, IPV6_V6ONLY, 1) or die;
		bind($s, pack_sockaddr_in6($ARGV[0], inet_pton(AF_INET6, "::"))) && listen($s, 1) or die;
		open(F, ">$ARGV[1]"); print F "$$\n"; close(F); sleep 1000
	END
	shim useradd "[ -e '$work/taken' ] || perl -MSocket=:all '$work/take' $default_port '$work/taken' </dev/null >/dev/null 2>&1 9>&- &
		until [ -e '$work/taken' ]; do sleep 0.1; done"
	tree >"$work/before"
	run in_machine env "$shims" ./setup.sh
	cat "$work/taken" >>"$work/clients"
	same 1 "$status"
	has "$output" "setup.sh: port $default_port is taken: choose another one"
	same_tree "$work/before"
}

@test "an upgrade that does not work goes back to the server that ran" {
	server_up
	echo "echo-shell, as it was" >"$work/project/sshd_config.d/port-2022/banner"
	setup_sh
	tree >"$work/before"
	rm "$work/project/sshd_config.d/port-2022/banner"
	cp "$top/sshd_config.d/port-2022/banner" "$work/project/sshd_config.d/port-2022/"
	shim ssh 'echo broken >&2; exit 255'
	run in_machine env --default-signal=INT "$shims" PORT=2346 ./setup.sh
	same 1 "$status"
	same_tree "$work/before"
	echoes
	setup_sh status
	# While going back, setup.sh ignores SIGINT; the server that it starts does not.
	same 0 "$(there 'echo $((0x$(awk "/^SigIgn:/ { print \$2 }" "/proc/$0/status") & 2))' "$(server_pid)")"
}

@test "the administrator's file is read first, is in force at the next run, and is kept" {
	server_up
	tree >"$work/before"
	in_machine ssh-keygen -q -t ecdsa -N '' -f "$own-other_key"
	in_machine tee "$admin" >"$work/local" <<-END
		HostKey $own-other_key
		ListenAddress 127.0.0.1:2200
		KexAlgorithms curve25519-sha256
		Ciphers aes256-ctr
		MaxAuthTries 1
		Match User demo
		    Banner none
	END
	setup_sh >"$work/said"
	has "$(cat "$work/said")" "  log in     ssh -p 2200 demo@"
	port=2200
	client_setup
	in_machine sh -c 'sed "s/^/* /" "$0"' "$own-other_key.pub" >>"$work/known_hosts"
	echoes -c aes256-ctr -o HostKeyAlgorithms=ecdsa-sha2-nistp256 demo
	echoes -o HostKeyAlgorithms=ssh-ed25519 demo
	run ssh_demo -o LogLevel=INFO -c aes128-ctr demo
	has "$output" "no matching cipher found"
	PASS=wrong run ssh_demo -o LogLevel=INFO -o NumberOfPasswordPrompts=2 demo
	has "$output" "Too many authentication failures"
	setup_sh | grep "nothing was changed"
	in_machine rm "$admin"
	setup_sh | grep "  log in     ssh -p $default_port demo@[a-z0-9.]* "
	in_machine cp "$work/local" "$admin"
	says 0 "only $admin is kept: you wrote it" uninstall
	in_machine cmp "$admin" "$work/local"
	there 'echo NoSuch yes >"$0"' "$admin"
	refuses "this sshd refuses the server's configuration or $admin: $admin"
	has "$output" "Bad configuration option: NoSuch"
	in_machine rm "$admin"
	setup_sh
	there 'echo NoSuch yes >"$0"' "$admin"
	says 1 "  settings   refused by sshd, and not in force: $admin" status
	has "$output" "  server     up"
}

@test "an administrator's file with which no login works goes back, and is read anew when it is gone" {
	server_up
	there 'echo "ChrootDirectory /nonexistent" >"$0"' "$admin"
	run in_machine ./setup.sh # with the real trial login
	same 1 "$status"
	has "$output" "the server is up but a login (ssh -T) gets no echo"
	fails setup_sh status
	in_machine rm "$admin"
	setup_sh
	echoes
	# One that lets only some in is no reason to go back.
	there 'echo "AllowUsers demo" >"$0"' "$admin"
	says 0 "echo-shell: no trial login: 'AllowUsers demo' keeps it out"
	echoes
}

@test "HOST_KEY=file gives the server an identity, and is checked" {
	in_machine ssh-keygen -q -t ecdsa -N '' -f "$work/key"
	in_machine ssh-keygen -q -t ed25519 -N secret -f "$work/locked"
	: >"$work/empty"
	mkfifo "$work/fifo"
	refuses "HOST_KEY=$work/fifo: there is no such file" HOST_KEY="$work/fifo"
	for bad in locked empty; do
		refuses "HOST_KEY=$work/$bad is not a private key without a passphrase" HOST_KEY="$work/$bad"
	done
	chmod 644 "$work/key"
	server_up HOST_KEY="$work/key"
	in_machine cmp "$work/key" "$own/ssh_host_key"
	same 600 "$(in_machine stat -c %a "$own/ssh_host_key")"
	echoes
	setup_sh
	in_machine cmp "$work/key" "$own/ssh_host_key"
}

@test "an earlier version's layout is brought over: record, socket, changed configuration" {
	server_up
	there 'cd "$0" && cksum banner echo-shell.conf sshd_config | sed "s| \([a-z]\)| $0/\1|" >installed
		echo "user ~demo" >>installed; rm in-force; : >ssh_host_key.pub
		echo "MaxAuthTries 2" >>sshd_config; echo "# an old one" >banner' "$own"
	in_machine sed -i "s|^\([0-9]* [0-9]*\) $own/banner|$(in_machine cksum "$own/banner" | cut -d' ' -f1,2) $own/banner|" "$own/installed"
	says 0 "$own/sshd_config was changed here: it is kept as $own-sshd_config.saved; what it has of yours belongs in $admin"
	fails has "$output" "banner was changed"
	in_machine grep -qx "MaxAuthTries 2" "$own-sshd_config.saved"
	fails in_machine test -e "$own/installed" -o -e "$own/ssh_host_key.pub"
	echoes
	setup_sh status
}

@test "what the unit leaves root of its powers is enough for a terminal, wherever the system is strict" {
	server_up
	powers=$(sed -n 's/^CapabilityBoundingSet=/-all /p' "$top/sshd_config.d/port-2022/echo-shell.service" |
		tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
	has "$powers" "-all,+"
	# systemd mounts ptys with mode 600, and Fedora has a shadow that is closed to root.
	in_machine unshare --mount sh -c 'mount -t tmpfs tmpfs /mnt && cp /etc/shadow /mnt && chmod 0 /mnt/shadow && mount --bind /mnt/shadow /etc/shadow &&
		mount -t devpts -o newinstance,mode=600,ptmxmode=666 devpts /dev/pts &&
		exec setpriv --bounding-set="$0" --no-new-privs "$@"' "$powers" \
		"$(command -v sshd)" -D -e -f "$own/sshd_config" -o Port=2044 -o PidFile=/run/powers.pid >"$work/powers" 2>&1 &
	wait_for in_machine test -s /run/powers.pid
	client tests/talk -t sizes ssh -tt -F "$work/ssh_config" -p 2044 demo </dev/null || {
		cat "$work/powers"
		return 1
	}
	there 'kill "$(cat /run/powers.pid)"'
}

# A stand-in for systemd, which runs in no namespace: it does for the unit what setup.sh
# asks for.
systemd_up() {
	need_machine "takes systemd's place"
	in_machine mkdir -p /run/systemd/system /etc/systemd/system
	cat >"$work/bin/systemctl" <<-'END'
		#!/bin/sh
		[ "$1" != -q ] || shift
		verb=$1
		eval "unit=/etc/systemd/system/\${$#}"
		case "$verb $*" in
		daemon-reload*) exit ;;
		is-active*) exit 3 ;;
		*) [ -e "$unit" ] || exit 1 ;;
		esac
		case $verb in
		enable) : >/run/enabled ;;
		disable) rm -f /run/enabled ;;
		stop | restart)
			if [ -e /run/main ]; then
				main=$(cat /run/main)
				kill "$main"
				while kill -0 "$main" 2>/dev/null; do sleep 0.05; done # its port is not free before
				rm /run/main
			fi
			;;
		esac
		[ "$verb" = restart ] || exit 0
		$(sed -n 's/^ExecStartPre=//p' "$unit") || exit 1
		$(sed -n 's/^ExecStart=//p' "$unit") >/run/log 2>&1 3>&- &
		echo $! >/run/main
	END
	chmod 755 "$work/bin/systemctl"
}

@test "with systemd, a unit is installed, started, enabled, restarted on a change, and removed" {
	systemd_up
	server_up "$shims"
	echoes
	there 'test -e /run/enabled -a -e /etc/systemd/system/echo-shell.service'
	run in_machine env "$shims" ./setup.sh run
	same "1 setup.sh: systemd runs here: ./setup.sh makes a service of the server" "$status $output"
	in_machine env "$shims" PORT=2345 ./setup.sh
	port=2345
	client_setup
	echoes
	tree >"$work/before"
	shim ssh 'echo broken >&2; exit 255'
	run in_machine env --default-signal=INT "$shims" PORT=2346 ./setup.sh
	same 1 "$status"
	same_tree "$work/before"
	echoes
	# A server that is down still starts at boot after that.
	in_machine env "$shims" systemctl stop echo-shell.service
	run in_machine env --default-signal=INT "$shims" ./setup.sh
	same 1 "$status"
	in_machine test -e /run/enabled
	in_machine env "$shims" ./setup.sh uninstall
	fails there 'ls /run/enabled /run/main /etc/systemd/system/echo-shell.service'
}

@test "the system's sshd is reloaded, keeps demo out, and is for others what it was" {
	[ -z "${TEST_HERE-}" ] || [ ! -e /run/sshd.pid ] || skip "this machine's own sshd runs"
	in_machine useradd -M -d / -s /bin/sh "stranger$$"
	printf 'stranger%s:known\n' "$$" | in_machine chpasswd
	system_sshd_up /run/sshd.pid -p 2200
	before=$(in_machine cat /run/sshd.pid)
	port=2200
	client_setup
	mkfifo "$work/in"
	PASS=known ssh_demo "stranger$$@demo" cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"

	server_up
	same "$before" "$(in_machine cat /run/sshd.pid)"
	has "$(in_machine cat /run/system-sshd.log)" "Received SIGHUP; restarting."
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"

	echoes
	denied -p 2200 demo
	has "$(in_machine cat /run/system-sshd.log)" "not allowed because a group is listed in DenyGroups"
	same hello "$(PASS=known ssh_demo -p 2200 "stranger$$@demo" echo hello)"

	setup_sh uninstall
	echo 3 >"$work/in"
	wait_for grep -qx 3 "$work/out"
	in_machine kill "$before" # the pid file is away for a moment after a SIGHUP
	end_test
	wait_for in_machine userdel "stranger$$"
}

# Print how many processes here are sshd or the program.
servers() {
	there 'cat /proc/[0-9]*/comm | grep -c -e ^sshd -e echo-shell || :'
}

@test "uninstall ends the sessions, leaves the machine as it was, and can be repeated" {
	tree >"$work/before"
	before=$(servers)
	server_up
	mkfifo "$work/in"
	ssh_demo demo <>"$work/in" &
	wait_for serving 1
	run setup_sh uninstall
	same "0 echo-shell: everything is removed" "$status ${lines[0]}"
	same "echo-shell: the host key is gone, too: who logged in here types ssh-keygen -R '[localhost]:$default_port'" "${lines[1]}"
	serving 0
	wait_for eval 'same "$before" "$(servers)"'
	same_tree "$work/before"
	says_only 0 "echo-shell: nothing to do: nothing that setup.sh installed is here" uninstall
}

@test "an option that this sshd does not know is left out, one that it knows is live" {
	in_machine sed -i '/^Port/i #? NoSuchOption yes\n#? MaxStartups 98' sshd_config.d/port-2022/sshd_config
	server_up
	in_machine grep -qx "#? NoSuchOption yes" "$own/sshd_config"
	in_machine grep -qx "MaxStartups 98" "$own/sshd_config"
}

@test "two at once: the second waits for ten seconds or is refused, and nothing is broken" {
	shim useradd 'while [ ! -e "'"$work"'/go" ]; do '"$(command -v sleep)"' 0.1; done'
	in_machine env "$shims" ./setup.sh >"$work/said" 2>&1 &
	wait_for in_machine test -d "$own"
	shim sleep 'echo "$1" >>"'"$work"'/slept"; set -- 0.01' # the test need not wait as long
	run in_machine env "$shims" ./setup.sh uninstall
	same "1 setup.sh: another setup.sh is at work: wait until it has ended" "$status $output"
	same 10 "$(awk '{ sum += $1 } END { printf "%.0f", sum }' "$work/slept")"
	same 600 "$(in_machine stat -c %a /run/echo-shell.lock)"
	setup_sh add-user ann >"$work/added" &
	: >"$work/go"
	wait
	grep -q '^ann:' "$work/added"
	setup_sh status
}

@test "apt-get that is cut off leaves no sshd switched off for ever" {
	need_machine "changes how the system's sshd starts"
	there 'echo "echo-shell demo user" >/etc/ssh/sshd_not_to_be_run'
	shim systemctl ':'
	shim update-rc.d 'exit 0'
	in_machine env "$shims" ./setup.sh
	fails in_machine test -e /etc/ssh/sshd_not_to_be_run
	there 'echo "of the administrator" >/etc/ssh/sshd_not_to_be_run'
	in_machine env "$shims" ./setup.sh uninstall
	in_machine test -e /etc/ssh/sshd_not_to_be_run
}

@test "make install puts one file where a packager says, and make uninstall removes it" {
	in_machine make install DESTDIR="$work/dest" PREFIX=/usr
	same "./usr/bin/echo-shell" "$(cd "$work/dest" && find . -type f)"
	same 755 "$(stat -c %a "$work/dest/usr/bin/echo-shell")"
	in_machine make uninstall DESTDIR="$work/dest" PREFIX=/usr
	same "" "$(cd "$work/dest" && find . -type f)"
}
