#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What is refused beforehand, and what fails in the middle.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Start an sshd that listens where $1 says, with a port. It stands for any other process.
stranger() {
	other_sshd "$1" -f /dev/null -h /etc/ssh/ssh_host_ed25519_key -o "ListenAddress=$1"
}

# Run setup.sh with the environment $2 and so on. It must fail, say $1 on a line of its
# own, and leave nothing of a first install.
leaves_nothing() {
	run in_machine env --default-signal "$shims" "${@:2}" sh -c 'echo $$ >"$0/setup.pid"; exec ./setup.sh' "$work"
	assert_equal 1 "$status"
	assert_equal "$1" "$(grep '^setup.sh: ' <<<"$output" | paste -s -d ' ')"
	same_tree "$work/before"
	refute listening 2022
}

# A short key is soon made.
short_rsa() {
	shim ssh-keygen 'case "$*" in *" rsa "*) set -- "$@" -b 1024 ;; esac'
}

@test "words that cannot be are refused: PORT, HOST_KEY, PASSWORD, commands, and who is not root" {
	local check='etc=/etc; command=; isolation=; check_words 2>&1'

	for word in 0 02022 ssh -1 '2022 ' 65536 999999; do
		assert_equal "setup.sh: PORT=$word is not a port" "$(PORT=$word functions "$check" || :)"
	done
	assert_equal "setup.sh: HOST_KEY=/none: cannot read such a file" "$(HOST_KEY=/none functions "$check" || :)"
	for word in '' $'x\ty' $'x\ny'; do
		assert_contains "$(PASSWORD=$word functions "$check" || :)" "setup.sh: "
	done
	PORT=65535 PASSWORD='a b' functions "$check"
	run setup_sh $'evil\e[2J'
	assert_equal "1 setup.sh: no such command: evil?[2J; see ./setup.sh --help" "$status $output"
	run in_machine setpriv --reuid=1 --clear-groups ./setup.sh add-user ann bob
	assert_equal "1 setup.sh: must be run as root: sudo ./setup.sh add-user ann bob" "$status $output"
	refuses "PORT=x is not a port" PORT=x
}

@test "a port is refused if another process has all or half of it, not if it has another address, or is the server" {
	local pid

	stranger '[::]:2040'
	stranger 0.0.0.0:2041
	stranger 127.0.0.9:2042
	# Print the port that is refused, or nothing.
	refused() {
		there 'ECHO_SHELL_FUNCTIONS=yes; . ./setup.sh && eval "$1"' sh "addresses='$1'; isolation=; refuse_taken_port 2>&1" |
			sed -n 's/.*another process listens on port \([0-9]*\); take another one: PORT=n .*/\1/p'
	}
	assert_equal 2040 "$(refused $'0.0.0.0:2040\n[::]:2040')" # before there is a server
	restore
	pid=$(server_pid)
	assert_equal 2040 "$(refused $'0.0.0.0:2040\n[::]:2040')"
	assert_equal "" "$(refused 0.0.0.0:2040)"
	assert_equal 2041 "$(refused $'0.0.0.0:2041\n[::]:2041')"
	assert_equal 2041 "$(refused 127.0.0.1:2041)"
	assert_equal 2042 "$(refused 0.0.0.0:2042)"
	assert_equal "" "$(refused 127.0.0.1:2042)"
	assert_equal "" "$(refused $'0.0.0.0:2022\n[::]:2022')"
	refuses "another process listens on port 2040; take another one: PORT=n ./setup.sh" PORT=2040
	assert_equal "$pid" "$(server_pid)"
}

@test "somebody takes half the port just before the restart: sshd's words, and the old port and keys are back" {
	# The other half, by which a login would come in, works.
	restore
	hold one
	shim mv 'case "$*" in *machine.conf)
		/usr/sbin/sshd -f /dev/null -h /etc/ssh/ssh_host_ed25519_key -o "ListenAddress=[::]:2023" -o PidFile=/run/half.pid
		timeout 30 sh -c "until [ -s /run/half.pid ]; do sleep 0.1; done" ;;
	esac'
	refuses "the server does not work: see above; the old port and keys are back; another port: PORT=n ./setup.sh; " "$shims" PORT=2023
	assert_contains "$output" "Bind to port 2023 on :: failed: "
	held one
	wait_for echoes
}

@test "a login without an echo: a later run shows sshd's words, and sessions go on; a first install leaves nothing" {
	tree >"$work/before"
	short_rsa
	in_machine sed -i 's/^ForceCommand.*/ChrootDirectory \/nonexistent/' sshd_config.d/server/sshd_config
	leaves_nothing "setup.sh: the server does not work: see above; another port: PORT=n ./setup.sh; a container: see README"
	restore
	hold one
	run setup_sh
	assert_equal 1 "$status"
	assert_contains "${lines[-1]}" "setup.sh: the server does not work: see above; the old port"
	assert_contains "$output" '"/nonexistent"): No such file or directory'
	assert_contains "$output" 'a login (ssh -T) got no echo'
	held one
	refute grep -q _trial "$root$state/etc/passwd" "$root$state/etc/shadow"
}

@test "a first install that is interrupted, or whose reader goes away, leaves nothing" {
	local signal

	tree >"$work/before"
	# Nor does it leave the mark by which Debian's sshd is off while apt-get installs it.
	sed -n 's/^mark="\(.*\)"/\1/p' "$top/setup.sh" >"$work/mark"
	shim systemctl 'exit 0'
	for signal in HUP:useradd INT:ssh QUIT:sync TERM:chmod; do
		short_rsa
		shim "${signal#*:}" "cp '$work/mark' /etc/ssh/sshd_not_to_be_run; kill -s ${signal%:*} \$(cat '$work/setup.pid')"
		leaves_nothing "setup.sh: interrupted"
		rm "$work/bin/${signal#*:}"
	done
	short_rsa
	there 'env --default-signal "$1" ./setup.sh 2>"$0/said" | :' "$work" "$shims" || :
	assert_equal "setup.sh: cannot write to standard output echo-shell: nothing is installed" "$(paste -s -d ' ' "$work/said")"
	same_tree "$work/before"
}

@test "an account of another purpose with the guests' name is refused, and left by all that follows" {
	in_machine useradd -M -d /home/x -s /bin/bash _echo-shell
	tree >"$work/before"
	leaves_nothing "setup.sh: the account _echo-shell is not one that this script made: rename it, or remove it"
	setup_sh uninstall
	same_tree "$work/before"
	in_machine userdel _echo-shell
	in_machine groupadd -r _echo-shell
	in_machine usermod -a -G _echo-shell nobody
	tree >"$work/before"
	leaves_nothing "setup.sh: the group _echo-shell has members, so this script did not make it: rename it, or remove it"
}

@test "one run at a time: another waits, and says so; what somebody else made in /run is refused" {
	restore
	there 'exec 9>>/run/echo-shell/lock && flock 9 && : >"$0/locked" && until [ -e "$0/go" ]; do sleep 0.1; done' "$work" &
	wait_for [ -e "$work/locked" ]
	setup_sh add-user ann >"$work/added" &
	wait_for grep -qx "echo-shell: another setup.sh is at work: waiting for it" "$work/added"
	assert_equal 700 "$(in_machine stat -c %a /run/echo-shell)"
	: >"$work/go"
	wait_for grep -q '^ann:' "$work/added"
	wait
	in_machine chmod 1777 /run
	for made in 'mkdir /run/echo-shell' 'ln -s /etc /run/echo-shell'; do
		in_machine rm -r /run/echo-shell
		in_machine setpriv --reuid=1 --regid=1 --clear-groups sh -c "$made"
		refuses "/run/echo-shell is not a folder of root's: remove it"
	done
}

@test "60 idle connections and wrong passwords from 127.0.0.1 do not make status fail" {
	restore
	for i in 1 2 3; do
		PASS=wrong client ssh -F "$work/ssh_config" demo </dev/null || :
	done
	client bash -c 'for ((n = 0; n < 60; n++)); do exec {fd}<>"/dev/tcp/127.0.0.1/2022"; done
		: >"$0/idle"; exec sleep 1000' "$work" &
	wait_for [ -e "$work/idle" ]
	says 0 "  server     up" status
}
