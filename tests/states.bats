#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What a run that was cut off leaves: each state that the first lines of setup.sh name.

each=machine
# shellcheck source=tests/client.bash
. "$BATS_TEST_DIRNAME/client.bash"

# Install the server, and keep its tree for in_state.
keep_server() {
	tree >"$work/before"
	server_up
	there 'cp -a "$0" /run/kept' "$base"
}

# Put the trees into a state, by a line of shell in their folder, where "now" is the tree of
# the server that was kept, which runs if it is to be up.
in_state() {
	in_machine test ! -e /run/echo-shell.pid || end_process "$(server_pid)"
	there 'cd "$0" && rm -rf now old new && cp -a /run/kept/. .' "$base"
	[ "$1" = down ] || serve
	there 'cd "$0" && eval "$1"' "$base" "$2"
}

forget='sed -i "s/^demo:.*/demo:!:::::::/" now/etc/shadow'

@test "a first install that was cut off: the next run completes it and prints a password, or uninstall removes it" {
	keep_server
	for state in 'mv now new' 'mv now new; mkdir old' "$forget; mkdir old" "$forget; mkdir old new; rm now/etc/group"; do
		for end in complete remove; do
			in_state down "$state"
			if [ "$end" = complete ]; then
				server_up
				[ -n "$PASS" ]
				echoes
				same now "$(in_machine ls "$base")"
			else
				setup_sh uninstall
				same_tree "$work/before"
				in_machine useradd -r -U -M _echo-shell
				in_machine mkdir "$base"
			fi
		done
	done
}

@test "a change that was cut off: the next run completes it, with the key and the passwords that were there" {
	keep_server
	first=$PASS
	key=$(in_machine cat "$base/now/ssh_host_key")
	for state in 'mkdir new; touch new/echo-shell' 'mv now old; cp -a old new; rm old/utmp' \
		'cp -a now old; sed -i s/2022/2023/ now/sshd_config' 'mv now old; cp -a old now; echo x >now/banner'; do
		port=2022
		in_state up "$state"
		server_up
		same "" "$PASS"
		PASS=$first echoes
		same now "$(in_machine ls "$base")"
		same "$key" "$(in_machine cat "$base/now/ssh_host_key")"
		same 1 "$(there 'cat /proc/[0-9]*/comm' | grep -c '^sshd')"
	done
	port=2022
	in_state up 'mv now old; cp -a old now; mkdir new'
	setup_sh uninstall
	same_tree "$work/before"
	fails there 'cat /proc/[0-9]*/comm | grep ^sshd'
}

@test "what was cut off is said by status, and refused by add-user and remove-user, with the command" {
	server_up
	in_machine mkdir "$base/old"
	for command in status "add-user ann" "remove-user demo"; do
		# shellcheck disable=SC2086 # words
		says 1 "setup.sh: a run of setup.sh was cut off: ./setup.sh completes it" $command
	done
	# A run that cannot complete it leaves it as it is.
	in_machine sed -i 's/^ForceCommand.*/ForceCommand false/' sshd_config.d/port-2022/sshd_config
	refuses "a login to the new server (ssh -T) got no echo; nothing was changed"
	echoes
}

@test "SIGKILL at any moment: the same command completes it, uninstall removes all" {
	local i

	tree >"$work/before"
	for ((i = 0; i < 4; i++)); do
		in_machine timeout -s KILL "0.$((RANDOM % 9))" ./setup.sh >"$work/cut" 2>&1 || :
		if ((i % 2)); then
			server_up
			# The password may have been printed before.
			PASS=${PASS:-$(sed -n 's/^  password   \([^ ]*\) .*/\1/p' "$work/cut")}
			echoes
		fi
		setup_sh uninstall
		same_tree "$work/before"
	done
}

@test "half a tree is no container: the machine gets no guest" {
	server_up
	end_process "$(server_pid)"
	in_machine rm -r "$base/now/etc"
	says 1 "setup.sh: $base/now/etc/passwd is gone: ./setup.sh" add-user ann
	server_up
	setup_sh status
	fails in_machine grep ":$base/" /etc/passwd
}

@test "SIGKILL while a tree is being removed loses neither the host key nor a password" {
	local n

	keep_server
	first=$PASS
	key=$(in_machine cat "$base/now/ssh_host_key")
	in_machine mkdir "$admin"
	for ((n = 1; n < 5; n++)); do
		in_state up 'cp -a now old; echo x >now/banner'
		there 'echo "ListenAddress 192.0.2.1" >"$0/a.conf"' "$admin" # a run goes back
		: >"$work/removals"
		shim rm 'case $2 in '"$base"'/*)
			echo >>'"$work/removals"'
			[ "$(wc -l <'"$work/removals"')" != '"$n"' ] || { '"$(command -v rm)"' -rf "$2/etc" "$2/ssh_host_key"; kill -KILL "$PPID"; exit; } ;;
		esac'
		in_machine env "$shims" ./setup.sh >"$work/cut" 2>&1 || :
		same "$n" "$(wc -l <"$work/removals")"
		in_machine rm "$admin/a.conf"
		setup_sh >"$work/said" || cat "$work/cut" "$work/said"
		PASS=$first echoes
		same "$key" "$(in_machine cat "$base/now/ssh_host_key")"
	done
}
