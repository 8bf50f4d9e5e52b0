#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# setup.sh and the server: installing, changing, what is refused, removing.

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

# Have another user listen on an address and port, from when a file is there on.
holder='use Socket qw(:all); sleep 1 until -e $ARGV[2]; my $six = $ARGV[0] =~ /:/;
	socket(S, $six ? PF_INET6 : PF_INET, SOCK_STREAM, 0) or die;
	setsockopt(S, IPPROTO_IPV6, IPV6_V6ONLY, 1) if $six;
	bind(S, $six ? pack_sockaddr_in6($ARGV[1], inet_pton(AF_INET6, $ARGV[0])) : pack_sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) && listen(S, 1) or die "$!";
	open(F, ">$ARGV[2].held"); print F "$$\n"; close(F); sleep 1000'

@test "PORT=n takes another port, at the first run and later; one that is none or is taken is refused" {
	for bad in 0 02022 ssh -1 '2022 ' 65536; do
		refuses "PORT=$bad is not a port" PORT="$bad"
	done
	other_sshd other -f /dev/null -h /etc/ssh/ssh_host_ed25519_key -p 2022
	refuses "port 2022 is taken: choose another one, PORT=n ./setup.sh; nothing is installed"
	server_up PORT=2345
	same 2345 "$port"
	echoes
	pid=$(server_pid)
	refuses "port 2022 is taken: choose another one, PORT=n ./setup.sh; nothing was changed" PORT=2022
	same "$pid" "$(server_pid)"
	end_process "$(in_machine cat /run/other.pid)"
	PORT=2022 setup_sh
	port=2022
	client_setup
	echoes
	# Another process with that port, but on another address, is not in the way.
	in_machine perl -e "$holder" 127.0.0.9 2044 /dev/null &
	wait_for in_machine grep -q "0900007F:07FC" /proc/net/tcp
	there 'mkdir "$0" && echo "ListenAddress 127.0.0.1:2044" >"$0/here.conf"' "$admin"
	setup_sh
}

@test "half a port: who takes one address meanwhile is noticed, and the old server comes back" {
	for first in yes no; do
		rm -f "$work"/take*
		in_machine perl -e "$holder" 0.0.0.0 2023 "$work/take" 2>&1 &
		shim sync ": >'$work/take'; until [ -e '$work/take.held' ]; do sleep 0.1; done; : >'$work/waited'"
		shim sleep "echo >>'$work/waited'"
		tree >"$work/before"
		run in_machine env "$shims" PORT=2023 ./setup.sh
		same 1 "$status"
		[ "$(wc -l <"$work/waited")" -lt 50 ] # of 100, when it would have given up
		has "$output" "Bind to port 2023 on 0.0.0.0 failed"
		has "$output" "setup.sh: the server does not come up on 0.0.0.0:2023 [::]:2023: see above; "
		same_tree "$work/before"
		in_machine kill "$(cat "$work/take.held")"
		if [ "$first" = yes ]; then
			has "$output" "nothing is installed"
			server_up
		else
			has "$output" "the old server is back"
			echoes
		fi
	done
	# The server is started while somebody else has one of its addresses.
	end_process "$(server_pid)"
	rm -f "$work"/take*
	: >"$work/take"
	in_machine perl -e "$holder" 0.0.0.0 2022 "$work/take" &
	wait_for [ -e "$work/take.held" ]
	serve
	says 1 "  server     up, but not on all of 0.0.0.0:2022 [::]:2022" status
	says 1 "setup.sh: port 2022 is taken"
	in_machine kill "$(cat "$work/take.held")"
	setup_sh
	setup_sh status
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

@test "what does not work changes nothing: the old server goes on, and sshd's own words say why" {
	server_up
	hold one
	pid=$(server_pid)
	in_machine sed -i 's/^ForceCommand.*/ForceCommand false/' sshd_config.d/port-2022/sshd_config
	refuses "a login to the new server (ssh -T) got no echo; nothing was changed" PASSWORD=other
	in_machine sed -i 's/^ForceCommand.*/ChrootDirectory \/nonexistent/' sshd_config.d/port-2022/sshd_config
	refuses "a login to the new server (ssh -T) got no echo; nothing was changed" PORT=2044
	has "$output" 'stat("/nonexistent"): No such file or directory'
	in_machine sed -i 's/^ChrootDirectory.*/NoSuchOption yes/' sshd_config.d/port-2022/sshd_config
	refuses "sshd refuses the configuration with $admin/*.conf: see above; nothing was changed"
	has "$output" "Bad configuration option: NoSuchOption"
	cp "$top/sshd_config.d/port-2022/sshd_config" "$work/project/sshd_config.d/port-2022/"
	in_machine ssh-keygen -q -t ed25519 -N secret -f "$work/locked"
	: >"$work/empty"
	for bad in locked empty; do
		refuses "HOST_KEY=$work/$bad is not a private key without a passphrase; nothing was changed" HOST_KEY="$work/$bad"
	done
	refuses "HOST_KEY=/nonexistent: there is no such file; nothing was changed" HOST_KEY=/nonexistent
	same "$pid" "$(server_pid)"
	held one
	echoes
	says 0 "nothing was changed or restarted"
}

@test "a first install that does not work leaves nothing, and one line says why" {
	in_machine sed -i 's/^ForceCommand.*/ForceCommand false/' sshd_config.d/port-2022/sshd_config
	refuses "a login to the new server (ssh -T) got no echo; nothing is installed"
	cp "$top/sshd_config.d/port-2022/sshd_config" "$work/project/sshd_config.d/port-2022/"
	# The reader of what it says goes away.
	tree >"$work/before"
	there './setup.sh 2>"$0" | :' "$work/said" || :
	same "setup.sh: cannot write to standard output; nothing is installed" "$(cat "$work/said")"
	same_tree "$work/before"
	# A full disk.
	there 'dd if=/dev/zero of=/var/lib/fill bs=65536 2>/dev/null' || :
	run setup_sh
	has "$output" "No space left on device; nothing is installed"
	in_machine rm /var/lib/fill
	same_tree "$work/before"
	# A signal, at its slowest step.
	shim ssh 'kill -s "$SIGNAL" "$(cat '"$work"'/pid.setup)"; exit 255'
	for SIGNAL in HUP INT QUIT TERM; do
		run in_machine env --default-signal=INT,QUIT "$shims" SIGNAL="$SIGNAL" sh -c 'echo $$ >"$0/pid.setup"; exec ./setup.sh' "$work"
		has "$output" "setup.sh: interrupted; nothing is installed"
		same_tree "$work/before"
	done
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

@test "two at once: the second waits, and says so" {
	shim useradd 'while [ ! -e "'"$work"'/go" ]; do sleep 0.1; done'
	in_machine env "$shims" ./setup.sh >"$work/said" 2>&1 &
	wait_for in_machine test -d /run/echo-shell
	setup_sh add-user ann >"$work/added" &
	wait_for grep -qx "echo-shell: another setup.sh is at work: waiting for it" "$work/added"
	same 600 "$(in_machine stat -c %a /run/echo-shell.lock)"
	: >"$work/go"
	wait
	grep -q '^ann:' "$work/added"
	setup_sh status
}

@test "who is not root is told what to type; names are printed without control characters" {
	in_machine useradd -M stranger
	run in_machine setpriv --reuid=stranger --clear-groups ./setup.sh add-user ann bob
	same "1 setup.sh: must be run as root: sudo ./setup.sh add-user ann bob" "$status $output"
	run setup_sh $'evil\e[2J'
	same "1 setup.sh: no such command: evil?[2J; see ./setup.sh --help" "$status $output"
	# It is the prompt that makes setup.sh ssh's askpass, and nothing else.
	ECHO_SHELL_PASSWORD=x says 0 "echo-shell: nothing of the server is here" uninstall
}

@test "apt-get that is cut off leaves no sshd switched off for ever" {
	mark=$(sed -n 's/^mark="\(.*\)"/\1/p' "$top/setup.sh")
	there 'echo "$0" >/etc/ssh/sshd_not_to_be_run' "$mark"
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
