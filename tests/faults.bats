#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What is refused, and what fails in the middle: the old server goes on, or is back.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

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
