#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Beside a system's sshd with accounts that matter: the drop-in, and the server's lock.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	machine_up
	need_machine "changes the system's sshd"
	in_machine useradd -M -d / -s /bin/sh stranger
	echo stranger:known | in_machine chpasswd
	main=/etc/ssh/sshd_config
	port=22
}

# Run a shell that changes the system's sshd_config.
config() {
	there "$1" "$main"
}

# Add the user alice, and log in as her from now on.
add_alice() {
	PASS=$(setup_sh add-user alice | sed -n 's/^alice://p')
}

# Print what the system's sshd holds for everyone but demo users.
others() {
	there 'sshd -T; for user in root stranger nobody who-is-that; do
		sshd -T -C "user=$user,host=localhost,addr=127.0.0.1"; done'
}

# Put the system's sshd in a state, by a shell, and start it if a port is given, on which
# it listens then. Install the drop-in, add a user, and remove all; then the same with
# the server. Nothing may change for anyone else; the drop-in's user gets an echo and
# nothing else, and the server's none from the system's sshd.
in_state() {
	config "$1"
	others >"$work/others.before"
	tree >"$work/tree.before"
	port=${2-}
	[ -z "$port" ] || system_sshd_up /run/sshd.pid -f "$main"

	setup_sh drop-in
	add_alice
	others | cmp - "$work/others.before"
	if [ -n "$port" ]; then
		client_setup
		echoes alice@demo
		run ssh_demo alice@demo id
		has "$output" "echo-shell: refused 'id'"
		same hello "$(PASS=known ssh_demo stranger@demo echo hello)"
	fi

	setup_sh uninstall
	others | cmp - "$work/others.before"
	same_tree "$work/tree.before"

	server_up
	others | cmp - "$work/others.before"
	[ -z "${2-}" ] || denied -p "$2" demo
	setup_sh uninstall
	same_tree "$work/tree.before"
}

# Change the system's sshd_config by a shell, so that both ways of installing, or only the
# one given, must end with a line that has $2, and leave nothing.
is_refused() {
	local commands=("${@:3}")

	[ $# != 2 ] || commands=('' drop-in)
	config "$1"
	tree >"$work/tree.before"
	for command in "${commands[@]}"; do
		run setup_sh $command
		same 1 "$status"
		has "${lines[${#lines[@]} - 1]}" "$2"
		same_tree "$work/tree.before"
	done
}

@test "drop-in: Debian's stock file" {
	in_state true 22
}

@test "drop-in: Port 2200 is named, and a ListenAddress with a port" {
	in_state 'printf "Port 2200\nListenAddress 127.0.0.1:2201\n" >>"$0"' 2201
}

@test "drop-in: Port 22 is named, and a HostKey" {
	in_state 'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key; printf "Port 22\nHostKey /etc/ssh/own_key\n" >>"$0"' 22
}

@test "drop-in: PasswordAuthentication no, in the main file and in cloud-init's" {
	in_state 'sed -i "s/^#*PasswordAuthentication.*/PasswordAuthentication no/" "$0"
		echo "PasswordAuthentication no" >"$0.d/50-cloud-init.conf"
		printf "Match User stranger\n\tPasswordAuthentication yes\n" >>"$0"' 22
}

@test "drop-in: Matches at the end and in a file before ours; an sshd that does not run stays stopped" {
	in_state 'printf "Match User stranger\n\tBanner none\n" >"$0.d/00-first.conf"
		printf "Match Address 10.20.0.0/16\n\tForceCommand none\n" >>"$0"
		printf "Match all\n\tX11Forwarding yes\n\tForceCommand /bin/false\nMatch User stranger\n\tBanner none\n" >>"$0"'
	fails in_machine test -e /run/sshd.pid
}

@test "drop-in: AllowUsers and AllowGroups that leave it out are left alone, and said, with what to add" {
	for case in "AllowUsers stranger|AllowUsers alice bob" "AllowGroups stranger users|AllowGroups echo-shell"; do
		config "sed -i /^Allow/d \"\$0\"; echo '${case%|*}' >>\"\$0\""
		others >"$work/others.before"
		setup_sh drop-in
		run setup_sh add-user alice bob
		same 0 "$status"
		same "echo-shell: not let in by this sshd, which has '${case%|*}', until its configuration also has: ${case#*|}" "${lines[0]}"
		same 3 "${#lines[@]}"
		says 1 "  user       alice, cannot log in: ${case%|*}" status
		others | cmp - "$work/others.before"
		config "echo '${case#*|}' >>\"\$0\""
		says 1 "  user       bob, held to the echo" status
		has "$output" "  server     the system's sshd, which does not run: start it"
		setup_sh uninstall
	done
}

@test "a main file without the Include is refused, with the line to add" {
	is_refused 'sed -i /^Include/d "$0"' \
		"put the line 'Include /etc/ssh/sshd_config.d/*.conf' at its top, before every Match"
	# What is mended later must be read.
	config 'sed -i "1i Include /etc/ssh/sshd_config.d/*.conf" "$0"'
	setup_sh
	config 'sed -i /^Include/d "$0"'
	system_sshd_up /run/sshd.pid -f "$main"
	run setup_sh
	same 1 "$status"
	config 'sed -i "1i Include /etc/ssh/sshd_config.d/*.conf" "$0"'
	says 1 "nothing is installed here, or only half" add-user alice
	setup_sh
	has "$(server_log)" "Received SIGHUP; restarting."
}

@test "a main file with an error is refused" {
	is_refused 'echo "NoSuchOption yes" >>"$0"' "Bad configuration option: NoSuchOption; fix it first"
	has "$output" "setup.sh: the system's sshd refuses its own configuration: $main"
}

@test "an Include of the lock inside a Match is refused, whichever file it is in" {
	local match

	for match in 'Match Address *,!127.0.0.2' 'Match Address 127.0.0.1' 'Match all' '  MATCH Group *' '=Match all'; do
		is_refused "sed -i '/^Include/d' \"\$0\"
			printf '%s\n\tX11Forwarding no\nInclude /etc/ssh/sshd_config.d/*.conf\n' '$match' >>\"\$0\"" \
			"($match): put the line 'Include /etc/ssh/sshd_config.d/*.conf' at its top"
		config 'sed -i "/^[ =]*M[aA][tT][cC][hH]/,\$d" "$0"'
	done
	config 'printf "Match Address 127.0.0.1\nInclude /etc/ssh/sshd_config.d/*.conf\n" >/etc/ssh/more.conf'
	is_refused 'echo "Include /etc/ssh/more.conf" >>"$0"' "(no Include): put the line"
	config 'echo "Include /etc/ssh/sshd_config.d/*.conf" >/etc/ssh/more.conf'
	is_refused 'printf "Match Address 127.0.0.1\nInclude /etc/ssh/more.conf\n" >>"$0"; sed -i "\$!{/^Include/d}" "$0"' \
		"(Match Address 127.0.0.1): put the line"
	# What is included by another path cannot be told from what is not.
	there 'ln -s sshd_config.d /etc/ssh/linked.d'
	for path in /etc/ssh//sshd_config.d ./sshd_config.d /etc/ssh/linked.d "/etc/ssh/sshd_config?d"; do
		is_refused "sed -i '/^Match/d; /^Include/d' \"\$0\"; printf 'Include $path/*.conf\n' >>\"\$0\"" \
			"(no Include): put the line"
	done
	# A Match ends with its file: the Include may come after such a file. sshd takes what
	# does not begin with / from /etc/ssh.
	for path in /etc/ssh/ ''; do
		config 'sed -i "/^Match/d; /^Include/d" "$0"; printf "Match Address 127.0.0.1\n\tX11Forwarding no\n" >/etc/ssh/earlier.conf'
		config "sed -i '1i Include /etc/ssh/earlier.conf\n  include  ${path}sshd_config.d/*.conf' \"\$0\""
		setup_sh
		setup_sh uninstall
	done
}

@test "another sshd that runs with a configuration of its own must hold demo users too" {
	there 'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key
		printf "Port 2299\nHostKey /etc/ssh/own_key\nPidFile /run/other.pid\n" >/etc/ssh/other_config'
	system_sshd_up /run/other.pid -f /etc/ssh/other_config
	# Even if somebody has more listening sockets than an argument can hold.
	in_machine perl -MSocket -e 'for (1 .. 9000) { socket($s[$_], PF_INET, SOCK_STREAM, 0) && listen($s[$_], 1) or die }
		open(F, ">$ARGV[0]"); close(F); sleep 1000' "$work/open" &
	wait_for [ -e "$work/open" ]
	is_refused true "/etc/ssh/other_config does not apply $lock"
	there 'printf "Match Address 127.0.0.1\nInclude /etc/ssh/sshd_config.d/*.conf\n" >>/etc/ssh/other_config'
	is_refused true "/etc/ssh/other_config does not apply $lock to echo-shell-probe (Match Address 127.0.0.1): put" drop-in
	there 'sed -i /^Match/d /etc/ssh/other_config'
	setup_sh
	# From which folder a relative name was meant cannot be told.
	setup_sh uninstall
	stop_sshd /run/other.pid
	there 'cd /etc/ssh && "$(command -v sshd)" -f other_config'
	wait_for in_machine test -s /run/other.pid
	run there 'cd /etc/ssh && exec "$0/setup.sh"' "$work/project"
	same "1 setup.sh: which file the sshd with pid $(in_machine cat /run/other.pid) reads cannot be told: start it as $(command -v sshd) -f /FILE, from an environment that is not empty" "$status $output"
	in_machine test -s /run/other.pid
	stop_sshd /run/other.pid
	system_sshd_up /run/other.pid -f /etc/ssh/other_config
	setup_sh
	there 'rm /etc/ssh/other_config && mkfifo /etc/ssh/other_config'
	shim timeout 'shift 3; set -- -s KILL 1 "$@"' # not 10 s
	run timeout -s KILL 60 nsenter -t "$machine" -m -p -n sh -c 'cd "$0" && exec env "$1" ./setup.sh status' "$work/project" "$shims"
	same 1 "$status"
	has "$output" "  user       demo, NOT kept out of the system's sshd"
}

@test "a listener is found whose file is among its options, whose title is cut, or that a session started" {
	there 'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key
		printf "Port 2299\nHostKey /etc/ssh/own_key\nPidFile /run/other.pid\n" >/etc/ssh/other_config'
	system_sshd_up /run/other.pid -p2299 -4f /etc/ssh/other_config
	is_refused true "/etc/ssh/other_config does not apply $lock"
	stop_sshd /run/other.pid
	in_machine env -i "$(command -v sshd)" -p 2299 -o PidFile=/run/third.pid
	wait_for in_machine test -s /run/third.pid
	is_refused true "which file the sshd with pid "
	stop_sshd /run/third.pid
	# So much of the title is left that it names another file.
	in_machine cp "$main" "$main-private"
	in_machine env -i "$(command -v sshd)" -p 2299 -o PidFile=/run/third.pid -f "$main-private"
	wait_for in_machine test -s /run/third.pid
	is_refused true "which file the sshd with pid "
	stop_sshd /run/third.pid
	# The title does not show an empty argument.
	in_machine "$(command -v sshd)" -p 2299 -o PidFile=/run/third.pid -o "" -f "$main-private"
	wait_for in_machine test -s /run/third.pid
	is_refused true "which file the sshd with pid "
	stop_sshd /run/third.pid
	# A word of an option's that is no -f is none.
	in_machine "$(command -v sshd)" -o "Port 2299" -o "PidFile /run/third.pid"
	wait_for in_machine test -s /run/third.pid
	setup_sh
	setup_sh uninstall
	stop_sshd /run/third.pid
	# Another program, and the same one by another name.
	there 'cp "$(command -v sshd)" /usr/local/bin/sshd-copy; ln -s "$(command -v sshd)" /usr/local/bin/internal'
	system_sshd_up /run/other.pid -f /dev/null -h /etc/ssh/own_key -p 2299 -o PidFile=/run/other.pid
	stop_sshd /run/other.pid
	there '/usr/local/bin/sshd-copy -p 2299 -o PidFile=/run/other.pid'
	wait_for in_machine test -s /run/other.pid
	is_refused true "which file the sshd with pid "
	stop_sshd /run/other.pid
	there '/usr/local/bin/internal -f /etc/ssh/other_config'
	wait_for in_machine test -s /run/other.pid
	is_refused true "/etc/ssh/other_config does not apply $lock"
	stop_sshd /run/other.pid
	# As in "ssh root@host sshd -D -f ...": its parent is named sshd, and does not listen.
	there 'cp /bin/sh /tmp/sshd; /tmp/sshd -c "\"\$0\" -D -f /etc/ssh/other_config; :" "$(command -v sshd)" >/dev/null 2>&1 &'
	wait_for in_machine test -s /run/other.pid
	is_refused true "/etc/ssh/other_config does not apply $lock"
}

@test "a user's own sshd, and processes that only have our names, are neither believed nor waited for" {
	server_up
	mkfifo -m 666 "$work/bin/fifo"
	for name in sshd echo-shell; do
		cp "$(command -v sleep)" "$work/bin/$name"
		in_machine setpriv --reuid=stranger --clear-groups env USER=$'\e[2Jevil' SSH_CONNECTION=$'\e[2Jevil 1 2 3' \
			bash -c 'exec -a "sshd: /usr/sbin/sshd -f $0 [listener] 0 of 10-100 startups" "$1" 1000' \
			"$work/bin/fifo"$'\e[2J' "$work/bin/$name" &
	done
	in_machine ssh-keygen -q -t ed25519 -N '' -f /tmp/key
	in_machine chown stranger /tmp/key
	in_machine setpriv --reuid=stranger --clear-groups "$(command -v sshd)" -f /dev/null -h /tmp/key -p 2999 -o PidFile=/tmp/pid
	wait_for in_machine test -s /tmp/pid
	wait_for there 'cat /proc/[0-9]*/cmdline | grep -qz evil || grep -lx echo-shell /proc/[0-9]*/comm'
	run in_machine timeout 20 ./setup.sh status
	same 0 "$status"
	fails grep -e evil -e $'\e' <<<"$output"
	in_machine timeout 20 ./setup.sh | grep "nothing was changed"
	in_machine timeout 20 ./setup.sh add-user ann
	in_machine timeout 20 ./setup.sh uninstall
	in_machine timeout 20 ./setup.sh drop-in
	same 3 "$(there 'grep -l "^Uid:.$(id -u stranger)" /proc/[0-9]*/status' | wc -l)"
}

@test "what a session of root's hands to setup.sh is printed without control characters" {
	run setup_sh add-user $'evil\e[2J'
	fails grep $'\e' <<<"$output"
	says_only 1 "setup.sh: no such command: evil?[2J; see ./setup.sh --help" $'evil\e[2J'
}

@test "what wins over the lock, for all clients or for some, is refused by the drop-in, and nowhere else" {
	is_refused 'printf "Match Address 127.7.0.0/16\n\tDisableForwarding no\n" >"$0.d/00-lan.conf"' \
		"(Match Address 127.7.0.0/16 in an earlier file): put the line" drop-in
	# sshd cuts what it says of a long line.
	is_refused 'printf "Match Address %s127.7.0.0/16\n\tDisableForwarding no\n" "$(printf "10.20.%d.0/24," $(seq 99))" >"$0.d/00-lan.conf"' \
		"(Match Address 10.20.1.0/24" drop-in
	is_refused 'printf "Match all\n\tPubkeyAuthentication yes\n" >"$0.d/00-first.conf"' \
		"$main does not apply $lock to echo-shell-probe (pubkeyauthentication yes): " drop-in
	# A block of the administrator's for our group hides nothing that comes after it.
	is_refused 'printf "Match Group echo-shell\n\tBanner none\nMatch LocalPort 2299\n\tDisableForwarding no\n" >"$0.d/00-first.conf"' \
		"(Match LocalPort 2299 in an earlier file): put the line" drop-in
	setup_sh # whose lock nothing can take back
	setup_sh uninstall
	config 'rm "$0.d/00-lan.conf"; printf "Match User support,export\n\tBanner none\n" >"$0.d/00-first.conf"'
	setup_sh drop-in
}

@test "a Match for a port or an address of the server is no error" {
	config 'printf "Match LocalPort 2299\n\tX11Forwarding no\nMatch LocalAddress 10.0.0.1\n\tX11Forwarding no\n" >>"$0"'
	setup_sh
	setup_sh uninstall
	setup_sh drop-in
}

@test "a lock that would change something for others is refused" {
	in_machine sed -i "1i MaxSessions 7" sshd_config.d/echo-shell.conf sshd_config.d/port-2022/keep-out.conf
	is_refused true "$lock would change the system's sshd for other users"
}

@test "drop-in: a pty is exact, no motd, no forwarding; open sessions stay; a second run does nothing" {
	there 'echo MOTD >/etc/motd'
	system_sshd_up /run/sshd.pid -f "$main"
	setup_sh drop-in
	add_alice
	client_setup
	mkfifo "$work/in"
	PASS=known ssh_demo stranger@demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"

	head -n 256 "$top/tests/python2-repr.tsv" |
		talk_when serving 1 -- client tests/talk -p table ssh -tt -F "$work/ssh_config" alice@demo
	run ssh_demo -o LogLevel=INFO -W 127.0.0.1:22 alice@demo </dev/null
	has "$output" "administratively prohibited"
	run client sftp -F "$work/ssh_config" -b /dev/null alice@demo
	[ "$status" != 0 ]
	tree >"$work/tree.before"
	says 0 "nothing was changed or reloaded" drop-in
	same_tree "$work/tree.before"
	in_machine sh -c 'echo "# mine" >>"$0"' "$lock"
	says 0 "$lock is not this checkout's" status
	says 0 "echo-shell: updating $lock" drop-in
	setup_sh uninstall
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"
}

@test "drop-in: no name of an environment variable is accepted that a client can know" {
	config 'grep -q "^AcceptEnv LANG" "$0" || echo "AcceptEnv LANG LC_*" >>"$0"'
	system_sshd_up /run/sshd.pid -f "$main"
	setup_sh drop-in
	add_alice
	client_setup
	mkfifo "$work/in"
	LANG=x LC_ALL=C ECHO_SHELL_SECRET=x ssh_demo -o SendEnv='LANG LC_* ECHO_SHELL_SECRET' alice@demo <>"$work/in" &
	wait_for serving 1
	fails in_machine grep -qzE '^(LANG|LC_|ECHO_SHELL)' "/proc/$(served)/environ"
	secret=$(in_machine sed -n 's/^.AcceptEnv //p' "$lock")
	same 31 "${#secret}"
	same 600 "$(in_machine stat -c %a "$lock")"
	setup_sh drop-in
	same "$secret" "$(in_machine sed -n 's/^.AcceptEnv //p' "$lock")"
}

@test "drop-in: each line of the lock is in force, whatever the main file says" {
	config 'printf "PermitTunnel yes\nPermitUserRC yes\nAllowAgentForwarding yes\nAuthorizedKeysFile /x\nPermitEmptyPasswords yes\n" >>"$0"'
	setup_sh drop-in
	add_alice
	in_machine sshd -T -C user=alice,host=h,addr=192.0.2.1 | tr '[:upper:]' '[:lower:]' >"$work/options"
	lines_in "$work/options" "forcecommand exec /usr/local/bin/echo-shell" "permittty yes" "disableforwarding yes" \
		"permittunnel no" "allowagentforwarding no" "x11forwarding no" "permituserrc no" \
		"authenticationmethods password" "passwordauthentication yes" \
		"permitemptypasswords no" "pubkeyauthentication no" "authorizedkeysfile none" "kbdinteractiveauthentication no"
	same 1 "$(grep -c '^acceptenv' "$work/options")"
}

@test "by hand, as the README says: an account gets an echo, and setup.sh leaves it alone" {
	in_machine useradd -M -d / alice
	echo alice:known | in_machine chpasswd
	sed -n '/^    make install/,/^    sshd -t/p' README | sed 's/NAME/alice/; s/ && systemctl reload ssh//' >"$work/by-hand"
	in_machine sh -e "$work/by-hand"
	system_sshd_up /run/sshd.pid -f "$main"
	client_setup
	PASS=known
	echoes alice@demo
	run ssh_demo -o LogLevel=INFO -W 127.0.0.1:22 alice@demo </dev/null
	has "$output" "administratively prohibited"
	fails in_machine grep -q SECRET "$lock"
	for command in uninstall drop-in '' status; do
		tree >"$work/tree.before"
		says_only 1 "setup.sh: echo-shell was installed here by hand; to remove that, give its users another group and shell, remove $lock, /usr/local/bin/echo-shell, the group echo-shell, and reload ssh" $command
		same_tree "$work/tree.before"
	done
}

# Return whether a user has a process.
has_process_of() {
	there 'grep -l "^Uid:.$0" /proc/[0-9]*/status' "$1"
}

@test "what runs in a container of this machine is left alone" {
	setup_sh
	uid=$(in_machine id -u demo)
	ssh-keygen -q -t ed25519 -N '' -f "$work/inner.key"
	cat >"$work/container" <<-END
		mount -t proc proc /proc
		"\$(command -v sshd)" -f /dev/null -h "$work/inner.key" -p 2298 -o PidFile="$work/inner.pid" -E "$work/inner.log"
		exec setpriv --reuid=$uid --clear-groups sleep 300
	END
	in_machine unshare --pid --mount --fork sh "$work/container" &
	wait_for has_process_of "$uid"
	wait_for [ -s "$work/inner.pid" ]
	run setup_sh uninstall
	# userdel itself looks at all processes: that is its affair.
	has_process_of "$uid"
	fails in_machine grep SIGHUP "$work/inner.log"
}

@test "uninstall does not end a system's sshd whose configuration has an error by now" {
	system_sshd_up /run/sshd.pid -f "$main"
	setup_sh
	config 'echo "Typo yes" >>"$0"'
	says 0 "is not reloaded: its configuration has an error" uninstall
	there 'kill -0 "$(cat /run/sshd.pid)"'
}

@test "the drop-in and the server exclude each other, and say so" {
	setup_sh drop-in
	says 1 "setup.sh: the drop-in is here"
	setup_sh uninstall
	setup_sh
	says 1 "setup.sh: the server is here" drop-in
}
