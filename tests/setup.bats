#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh and the server: installing, changing, removing.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

@test "the server is up, and all that a newcomer needs is said" {
	server_up
	cat "$work/said"
	grep -qx "  log in     ssh -p 2022 demo@127.0.0.1 .*" "$work/said"
	grep -qxE "  password   [a-hjkmnp-z2-9]{20} .*" "$work/said"
	grep -qx "  host key   $(in_machine ssh-keygen -lf "$base/now/ssh_host_key" | cut -d' ' -f2)" "$work/said"
	grep -qx "  leave      Enter ~ \." "$work/said"
	grep -qx "  remove     ./setup.sh uninstall" "$work/said"
	echoes
	SUDO_USER=joe says 0 "  remove     sudo ./setup.sh uninstall"
	in_machine grep -q "^_echo-shell:!:" /etc/shadow
	same 600 "$(in_machine stat -c %a "$base/now/etc/shadow" "$base/now/ssh_host_key" | sort -u)"
	same "" "$(there 'cut -d: -f1 "$0/now/etc/passwd" | grep -v -e root -e sshd -e demo' "$base")"
}

@test "passwords are kept nowhere but in shadow, and are in no process's arguments" {
	for tool in chpasswd ssh useradd; do
		shim "$tool" "cat /proc/[0-9]*/cmdline >>'$work/arguments'"
	done
	server_up "$shims"
	first=$PASS
	in_machine env "$shims" PASSWORD=one-of-ours ./setup.sh >"$work/said"
	echo "eve:one-of-hers" | in_machine env "$shims" ./setup.sh add-user -
	for PASS in "$first" one-of-ours one-of-hers; do
		[ -s "$work/arguments" ]
		fails grep -qF "$PASS" "$work/arguments"
		same "" "$(in_machine grep -rlF "$PASS" /etc /usr/local/bin /var/lib /var/log /run --exclude-dir=work || :)"
	done
	fails grep -q one-of-ours "$work/said"
	PASS=one-of-ours echoes # from now on
	for bad in '' $'x\ty'; do
		refuses "the password of demo is empty or has a control character" PASSWORD="$bad"
	done
}

@test "a second run logs in, changes and restarts nothing and says so; what is wrong, it mends" {
	server_up
	pid=$(server_pid)
	hold one
	tree >"$work/before"
	shim ssh "echo >>'$work/logins'"
	run in_machine env "$shims" ./setup.sh
	has "$output" "echo-shell: all is there, and a login works: nothing was changed or restarted"
	same "0 2" "$status $(wc -l <"$work/logins")"
	fails has "$output" "  password "
	same_tree "$work/before"
	same "$pid" "$(server_pid)"
	held one

	end_process "$pid"
	says 1 "  server     down: ./setup.sh starts it" status
	setup_sh
	echoes
	# sshd is upgraded under the server.
	there 'cp "$1" "$0/sshd" && mount --bind "$0/sshd" "$1"' "$work" "$(command -v sshd)"
	says 1 "  server     up, but OpenSSH was upgraded since" status
	pid=$(server_pid)
	says 0 "echo-shell: starting the server anew, which ends its sessions"
	fails same "$pid" "$(server_pid)"
	setup_sh status
	# Somebody changes a file of ours.
	in_machine sed -i 's/^MaxAuthTries.*/MaxAuthTries 9/' "$base/now/sshd_config"
	setup_sh
	same_tree "$work/before"
	echoes
}

@test "where the preload is not loaded, the server works as before, and status notes it" {
	server_up
	end_process "$(server_pid)"
	there 'mv "$0/raw-pty.so" "$0/kept"' "$base/now"
	serve
	there 'mv "$0/kept" "$0/raw-pty.so"' "$base/now"
	says 0 "  note       not exact from the first byte: raw-pty.so is not loaded" status
	echoes
	head -n 256 "$top/tests/python2-repr.tsv" |
		talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" demo
}

@test "HOST_KEY=file gives the server an identity, repaired where a secret store damaged it" {
	in_machine ssh-keygen -q -t ecdsa -N '' -f "$work/key"
	chmod 644 "$work/key"
	server_up HOST_KEY="$work/key"
	in_machine cmp "$work/key" "$base/now/ssh_host_key"
	echoes
	setup_sh
	in_machine cmp "$work/key" "$base/now/ssh_host_key"
	for damage in 's/^/  /; s/$/ \r/' '1s/^/\xef\xbb\xbf/' ':a; N; $!ba; s/\n/ /g' ':a; N; $!ba; s/\n/\\n/g' ':a; N; $!ba; s/\n/\r/g' \
		'1s/^/"/; $s/$/"/; :a; N; $!ba; s/\n//g'; do
		rm "$work/key"
		in_machine ssh-keygen -q -t ed25519 -N '' -f "$work/key"
		printf %s "$(sed "$damage" "$work/key")" >"$work/damaged" # and no newline at its end
		HOST_KEY=$work/damaged setup_sh
		in_machine ssh-keygen -y -f "$base/now/ssh_host_key" | grep -qF "$(cut -d ' ' -f 2 "$work/key.pub")"
	done
}

@test "the administrator's files come first, are in force at the next run, and are kept" {
	server_up
	in_machine mkdir "$admin"
	in_machine ssh-keygen -q -t ecdsa -N '' -f "$admin/other_key"
	in_machine tee "$admin/a.conf" >"$work/settings" <<-END
		HostKey $admin/other_key
		ListenAddress 127.0.0.1:2200
		Ciphers aes256-ctr
		MaxAuthTries 1
		Match User demo
		    Banner none
	END
	says 1 "  settings   $admin has changed: ./setup.sh puts it in force" status
	says 0 "  log in     ssh -p 2200 demo@127.0.0.1"
	setup_sh status
	port=2200
	client_setup
	there 'cat "$0/other_key.pub"' "$admin" | sed 's/^/* /' >>"$work/known_hosts"
	echoes -c aes256-ctr -o HostKeyAlgorithms=ecdsa-sha2-nistp256 demo
	echoes -o HostKeyAlgorithms=ssh-ed25519 demo
	run ssh_to -o LogLevel=INFO -c aes128-ctr demo
	has "$output" "no matching cipher found"
	PASS=wrong run ssh_to -o LogLevel=INFO -o NumberOfPasswordPrompts=2 demo
	has "$output" "Too many authentication failures"
	setup_sh | grep "nothing was changed"
	# One that is wrong changes nothing.
	pid=$(server_pid)
	there 'echo "NoSuch yes" >"$0/b.conf"' "$admin"
	refuses "sshd refuses the configuration with $admin/*.conf: see above; nothing was changed"
	has "$output" "$admin/b.conf: line 1: Bad configuration option: NoSuch"
	same "$pid" "$(server_pid)"
	# What sshd only warns of is shown.
	there 'echo "HostKey /nonexistent" >"$0/b.conf"' "$admin"
	says 0 "Unable to load host key"
	in_machine rm "$admin/b.conf"
	says 0 "only $admin is kept: you wrote it" uninstall
	in_machine cmp "$admin/a.conf" "$work/settings"
	setup_sh | grep "  log in     ssh -p 2200 "
	in_machine rm -r "$admin"
	setup_sh | grep "  log in     ssh -p 2022 demo@"
}

@test "a machine without IPv6 gets a server all the same" {
	there 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
	server_up
	setup_sh status
	echoes
}

@test "the guests' uid that somebody took away is noticed; a run moves them, uninstall ends only guests" {
	server_up
	hold one
	uid=$(in_machine id -u _echo-shell)
	in_machine sed -i '/^_echo-shell:/d' /etc/passwd /etc/shadow /etc/group
	in_machine useradd -r -u "$uid" -M other
	there 'setpriv --reuid=other --clear-groups sleep 1000 & echo $! >"$0/other"' "$work"
	says 1 "  account    _echo-shell, which keeps the guests' uid $uid, is gone or has another: ./setup.sh" status
	setup_sh
	fails same "$uid" "$(there 'awk -F: "/^demo:/ { print \$3 }" "$0/now/etc/passwd"' "$base")"
	setup_sh status
	echoes
	in_machine sed -i '/^_echo-shell:/d' /etc/group
	says 1 "  account    _echo-shell, " status
	setup_sh
	in_machine sed -i '/^_echo-shell:/d' /etc/passwd /etc/shadow
	says 1 "  account    _echo-shell, " status
	setup_sh
	setup_sh status
	in_machine sed -i '/^_echo-shell:/d' /etc/passwd /etc/shadow
	hold two
	setup_sh uninstall
	serving 0
	in_machine kill -0 "$(cat "$work/other")"
}

@test "uninstall ends the sessions, leaves the machine as it was, and can be repeated" {
	tree >"$work/before"
	server_up
	hold one
	hold two -tt demo
	says 0 "echo-shell: everything is removed, and all sessions are ended" uninstall
	has "$output" "echo-shell: the host key is gone, too: who logged in here types ssh-keygen -R '[HOST]:2022'"
	serving 0
	fails there 'cat /proc/[0-9]*/comm | grep ^sshd'
	same_tree "$work/before"
	says 0 "echo-shell: nothing of the server is here" uninstall
	says 1 "setup.sh: no echo server is installed here: ./setup.sh" status
}

@test "make install puts one file where a packager says, and make uninstall removes it" {
	in_machine make install DESTDIR="$work/dest" PREFIX=/usr
	same "./usr/bin/echo-shell" "$(cd "$work/dest" && find . -type f)"
	same 755 "$(stat -c %a "$work/dest/usr/bin/echo-shell")"
	in_machine make uninstall DESTDIR="$work/dest" PREFIX=/usr
	same "" "$(cd "$work/dest" && find . -type f)"
}
