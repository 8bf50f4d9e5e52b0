#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# ./setup.sh and uninstall: the first run, later ones, settings, host keys.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

@test "a first install says what a newcomer needs; a password is in no argument, and in no file but shadow" {
	local first

	for tool in ssh sync cut; do
		shim "$tool" "cat /proc/[0-9]*/cmdline >>'$work/arguments'"
	done
	server_up "$shims" SUDO_USER=joe
	first=$PASS
	[[ $first =~ ^[a-hjkmnp-z2-9]{20}$ ]]
	lines_in "$work/said" "  log in     ssh -p 2022 demo@127.0.0.1    # from elsewhere: this machine's name" \
		"  password   $first    # kept nowhere: note it now" \
		"  host key   $(in_machine ssh-keygen -lf "$state/ssh_host_ed25519_key" | cut -d ' ' -f 2)" \
		"  leave      close your client (ssh: Enter ~ .)" "  remove     sudo ./setup.sh uninstall" \
		"echo-shell: the server is up, and a login worked"
	echoes
	grep -q '^_echo-shell:!' "$root/etc/shadow"
	grep -q '^_echo-shell:.*:/usr/sbin/nologin$' "$root/etc/passwd"
	assert_equal "      4 600 0" "$(stat -c "%a %u" "$root$state/etc/shadow" "$root$state/"ssh_host_*_key | uniq -c)"
	assert_equal "demo root sshd" "$(cut -d : -f 1 "$root$state/etc/passwd" | sort | paste -s -d ' ')"
	# The password of a later run, and of another guest.
	in_machine env "$shims" PASSWORD=one-of-ours ./setup.sh >"$work/said"
	lines_in "$work/said" "  password   the one in PASSWORD" "  remove     ./setup.sh uninstall"
	PASS=one-of-ours echoes
	echo "eve:one-of-hers" | in_machine env "$shims" ./setup.sh add-user -
	PASS=one-of-hers echoes eve@demo
	grep -qa setup.sh "$work/arguments"
	printf '%s\n' "$first" one-of-ours one-of-hers >"$work/words"
	refute grep -qaFf "$work/words" "$work/arguments"
	refute in_machine grep -rqFf "$work/words" /etc /usr/local/bin /usr/local/lib /var/lib /var/log /run
}

@test "a second run writes the product anew, mends modes, owners and contents, and starts a new listener" {
	local pid

	restore
	tree >"$work/before"
	pid=$(server_pid)
	there 'chmod 644 "$0"/ssh_host_*_key "$0/etc/shadow"
		chmod 600 "$0/etc/passwd" "$0/machine.conf" "$1"/* /usr/local/bin/echo-shell
		chmod 700 "$0" "$0/etc" "$0/etc/ssh" "$1"
		chown 1:1 "$0" "$0/etc" "$0/etc/passwd" "$0"/ssh_host_*_key "$1" "$1"/* /usr/local/bin/echo-shell
		chown 1:1 "$0/sshd_config.d" && chmod 777 "$0/sshd_config.d"
		rm "$0"/*.pub "$0/etc/group" "$1/raw-pty.so"
		echo "LogLevel QUIET" >>"$1/sshd_config"
		echo "ExecStart=/bin/false" >>/etc/systemd/system/echo-shell.service' "$state" "$lib"
	setup_sh >"$work/said" 2>"$work/err"
	same_tree "$work/before"
	refute grep -q '  password ' "$work/said"
	assert_equal "" "$(<"$work/err")"
	refute [ "$pid" = "$(server_pid)" ]
	echoes
	setup_sh status
	# The drop-in's way out is not the server's.
	in_machine make -s uninstall
	echoes
}

@test "an open session goes on over ./setup.sh and PORT=n and opens another; uninstall ends it, and no other sshd's" {
	restore
	in_machine useradd -M -d / -s /bin/sh joe
	echo joe:known | in_machine chpasswd
	other_sshd other -f /dev/null -h /etc/ssh/ssh_host_ed25519_key -p 2200
	mkfifo "$dir/in"
	PASS=known ssh_to -p 2200 joe@demo cat <>"$dir/in" >"$dir/out" &
	echo 1 >"$dir/in"
	wait_for grep -qx 1 "$dir/out"
	masters 1
	hold one -S "$dir/m1" demo
	hold pty -tt demo
	setup_sh
	held one
	PASS=wrong hold two -S "$dir/m1" demo # wrong, or ssh might open a new connection
	server_up PORT=2345
	assert_equal 2345 "$port"
	held pty
	PASS=wrong hold three -S "$dir/m1" demo
	PASS=$(cut -d ' ' -f 2 "$kept/login") echoes
	says 0 "echo-shell: nothing of the server is here any more, and all sessions are ended" uninstall
	wait_for serving 0
	echo 2 1<>"$dir/in"
	wait_for grep -qx 2 "$dir/out"
}

@test "the administrator's settings come first, at the next run or reload, and are kept; a bad one is refused" {
	local pid

	restore
	ssh-keygen -q -t ecdsa -N '' -f "$root$settings/other_key"
	printf '%s\n' "HostKey $settings/other_key" "ListenAddress 0.0.0.0:2200" "Ciphers aes256-ctr" >"$root$settings/a.conf"
	setup_sh >"$work/said"
	grep -q '^  log in     ssh -p 2200 demo@127.0.0.1 ' "$work/said"
	port=2200
	client_setup
	sed 's/^/* /' "$root$settings/other_key.pub" >>"$work/known_hosts"
	echoes -c aes256-ctr -o HostKeyAlgorithms=ecdsa-sha2-nistp256 demo
	run ssh_to -o LogLevel=INFO -c aes128-ctr demo </dev/null
	assert_contains "$output" "no matching cipher found"
	pid=$(server_pid)
	in_machine sed -i 's/aes256/aes128/' "$settings/a.conf"
	in_machine kill -HUP "$pid"
	wait_for echoes -c aes128-ctr demo

	echo "NoSuch yes" >"$root$settings/b.conf"
	refuses "sshd refuses the settings in $settings: see above"
	assert_contains "$output" "b.conf: line 1: Bad configuration option: NoSuch"
	assert_equal "$pid" "$(server_pid)"
	# A login that his settings shut out is no failure. And a server of ours that has the
	# address of his settings is no stranger.
	echo "AllowUsers ann" >"$root$settings/b.conf"
	says 0 "echo-shell: a login got no echo: see above; your settings in $settings may forbid it"
	refute grep -q "a login worked" <<<"$output"
	assert_contains "$output" "User _trial from "
	says 0 "echo-shell: only your settings are kept: $settings" uninstall
	assert_equal "a.conf b.conf other_key other_key.pub" "$(cd "$root$settings" && echo *)"
}

@test "HOST_KEY=file is the server's only key and stays; a key that cannot be read is named" {
	local key=$work/key bad given make_keys='state=$1; work=$1; old=$3; HOST_KEY=$2; make_keys 2>&1'

	restore
	ssh-keygen -q -t ecdsa -N '' -f "$key"
	# A secret store added CRs, and dropped the last newline.
	printf %s "$(sed 's/$/\r/' "$key")" >"$work/damaged"
	for given in "HOST_KEY=$work/damaged" NONE=; do
		in_machine env "$given" ./setup.sh >"$work/said"
		given=$(sed -n 's/^HostKey //p' "$root$state/machine.conf")
		cmp "$key" "$root$given"
		lines_in "$work/said" "  host key   $(ssh-keygen -lf "$key" | cut -d ' ' -f 2)"
	done
	client_setup
	echoes
	ssh-keygen -q -t ed25519 -N secret -f "$work/locked"
	: >"$work/empty"
	for bad in "$work/locked" "$work/empty"; do
		run functions "$make_keys" "$work/state" "$bad" ""
		assert_contains "$output" "setup.sh: HOST_KEY=$bad is not a private key without a passphrase"
	done
	: >"$work/state/ssh_host_key"
	run functions "$make_keys" "$work/state" '' "HostKey $work/state/ssh_host_key"
	assert_contains "$output" "setup.sh: $work/state/ssh_host_key is no private key: remove it, for a new one, or give HOST_KEY=file"
}

@test "uninstall leaves the machine as it was and can be repeated; a process with the guests' uid it names and spares" {
	tree >"$work/before"
	restore
	there 'setpriv --reuid=_echo-shell --clear-groups sleep 1000 & echo $! >"$0/stranger"' "$work"
	hold pty -tt demo
	says 0 "echo-shell: the account _echo-shell stays: a process has its uid; later: userdel _echo-shell" uninstall
	wait_for serving 0
	refute listening 2022
	end_process "$(<"$work/stranger")" # it was there
	: >"$root/etc/systemd/system/echo-shell.service.new" # from a make that was cut off
	says 0 "echo-shell: nothing of the server is here any more" uninstall
	same_tree "$work/before"
	says 1 "setup.sh: no echo server is installed here, or not all of it: ./setup.sh" status
}
