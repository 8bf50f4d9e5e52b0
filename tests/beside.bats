#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Beside a system's sshd with accounts that matter: drop-in, users, status, off.

# shellcheck source=tests/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

setup() {
	machine_up
	need_machine
	[ -z "${TEST_HERE-}" ] || skip "changes the system's sshd: only in namespaces"
	dir=$work
	: >"$dir/clients"
	in_machine useradd -M -d / -s /bin/sh stranger
	echo stranger:known | in_machine chpasswd
	port=22
}

teardown() {
	[ -z "$no_machine" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || in_machine tail -n 15 /run/system-sshd.log || :
	[ ! -e "$dir/clients" ] || end_clients
	machine_down
}

# Prints what the system's sshd holds for everyone but demo users.
others() {
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'sshd -T; for user in root stranger nobody who-is-that; do
		sshd -T -C "user=$user,host=localhost,addr=127.0.0.1"; done'
}

# Takes a shell script that puts the system's sshd in some state, and a port, if it
# is to run then. Installs the drop-in, adds a user, and takes all off again; then the
# same with the server. Nothing may change for anyone else; the drop-in's user gets an
# echo and nothing else, and the server's none from the system's sshd.
in_state() {
	in_machine sh -c "$1"
	in_machine mkdir -p /run/sshd
	others >"$work/others.before"
	tree >"$work/tree.before"
	port=${2-}
	[ -z "$port" ] || system_sshd_up -f /etc/ssh/sshd_config

	in_machine ./setup.sh drop-in
	in_machine ./setup.sh add-user alice >"$work/alice"
	others | cmp - "$work/others.before"
	if [ -n "$port" ]; then
		client_setup
		PASSWORD=$(sed 's/^alice://' "$work/alice")
		same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo alice@demo)"
		run ssh_demo alice@demo id
		has "$output" "echo-shell: refused 'id'"
		same hello "$(PASSWORD=known ssh_demo ${3+"$3"} stranger@demo echo hello)"
	fi

	in_machine ./setup.sh uninstall
	others | cmp - "$work/others.before"
	tree | diff "$work/tree.before" -

	server_up
	others | cmp - "$work/others.before"
	if [ -n "${2-}" ]; then
		run ssh_demo -p "$2" demo </dev/null
		has "$output" "Permission denied"
	fi
	in_machine ./setup.sh uninstall
	tree | diff "$work/tree.before" -
}

# Takes a script that breaks the system's sshd_config, and a part of the line that
# both ways of installing must end with; sees that they leave nothing.
is_refused() {
	in_machine sh -c "$1"
	tree >"$work/tree.before"
	for command in '' drop-in; do
		run in_machine ./setup.sh $command
		same 1 "$status"
		has "${lines[${#lines[@]} - 1]}" "$2"
		tree | diff "$work/tree.before" -
	done
}

@test "drop-in: Debian's stock file" {
	in_state true 22
}

@test "drop-in: Port 22 is named" {
	in_state 'echo "Port 22" >>/etc/ssh/sshd_config' 22
}

@test "drop-in: Port 2200 is named, and a ListenAddress with a port" {
	in_state 'printf "Port 2200\nListenAddress 127.0.0.1:2201\n" >>/etc/ssh/sshd_config' 2201
}

@test "drop-in: own HostKey lines" {
	in_state 'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key; echo "HostKey /etc/ssh/own_key" >>/etc/ssh/sshd_config' 22
}

@test "drop-in: PasswordAuthentication no, in the main file and in cloud-init's" {
	in_state 'sed -i "s/^#*PasswordAuthentication.*/PasswordAuthentication no/" /etc/ssh/sshd_config
		echo "PasswordAuthentication no" >/etc/ssh/sshd_config.d/50-cloud-init.conf
		printf "Match User stranger\n\tPasswordAuthentication yes\n" >>/etc/ssh/sshd_config' 22
}

@test "drop-in: a Match all at the end" {
	in_state 'printf "Match all\n\tX11Forwarding yes\n\tForceCommand /bin/false\nMatch User stranger\n\tBanner none\n" >>/etc/ssh/sshd_config'
}

@test "drop-in: an sshd that is installed but stopped stays stopped" {
	in_state true
	fails in_machine test -e /run/sshd.pid
}

@test "drop-in: AllowUsers and AllowGroups that leave it out are left alone, and said" {
	for line in "AllowUsers stranger" "AllowGroups stranger"; do
		in_machine sed -i '/^Allow/d' /etc/ssh/sshd_config
		in_machine sh -c "echo '$line' >>/etc/ssh/sshd_config; mkdir -p /run/sshd"
		others >"$work/others.before"
		in_machine ./setup.sh drop-in
		run in_machine ./setup.sh add-user alice
		same 0 "$status"
		has "$output" "sshd lets in none but '$(echo "$line" | tr AUG aug)': see that alice is among them"
		others | cmp - "$work/others.before"
		in_machine ./setup.sh uninstall
	done
}

@test "a main file without the Include is refused, with the line to add" {
	is_refused 'sed -i /^Include/d /etc/ssh/sshd_config' \
		"put the line 'Include /etc/ssh/sshd_config.d/*.conf' at its top, before every Match"
}

@test "a main file with an error is refused" {
	is_refused 'echo "NoSuchOption yes" >>/etc/ssh/sshd_config' \
		"the system's sshd refuses its own configuration"
}

@test "another sshd that runs with a configuration of its own must hold demo users too" {
	in_machine sh -c 'mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key
		printf "Port 2299\nHostKey /etc/ssh/own_key\nPidFile /run/other.pid\n" >/etc/ssh/other_config
		/usr/sbin/sshd -f /etc/ssh/other_config'
	wait_for in_machine test -e /run/other.pid
	is_refused true "/etc/ssh/other_config does not hold"
	in_machine sh -c 'echo "Include /etc/ssh/sshd_config.d/*.conf" >>/etc/ssh/other_config'
	in_machine ./setup.sh
}

@test "something before the lock that wins is refused" {
	in_machine sh -c 'printf "Match all\n\tPubkeyAuthentication yes\n" >/etc/ssh/sshd_config.d/00-first.conf'
	run in_machine ./setup.sh drop-in
	same 1 "$status"
	has "$output" "does not hold echo-shell-probe to /etc/ssh/sshd_config.d/echo-shell.conf ("
	in_machine ./setup.sh # whose lock nothing can take back
}

@test "drop-in: a pty is exact, no motd, no environment, no forwarding; open sessions stay" {
	in_machine sh -c 'echo MOTD >/etc/motd'
	system_sshd_up -f /etc/ssh/sshd_config
	in_machine ./setup.sh drop-in
	in_machine ./setup.sh add-user alice >"$work/alice"
	client_setup
	PASSWORD=$(sed 's/^alice://' "$work/alice")
	mkfifo "$work/in" "$work/table"
	PASSWORD=known ssh_demo stranger@demo cat <>"$work/in" >"$work/out" &
	echo 1 >"$work/in"
	wait_for grep -qx 1 "$work/out"

	client tests/talk -p table -- ssh -tt -F "$work/ssh_config" -o SendEnv=LANG alice@demo \
		<"$work/table" >"$work/talked" 2>&1 3>&- &
	exec 9>"$work/table"
	wait_for serving 1
	fails in_machine grep -qz '^LANG' "/proc/$(served)/environ"
	head -n 256 "$top/tests/python2-repr.tsv" >&9
	exec 9>&-
	wait "$!" || {
		cat "$work/talked"
		return 1
	}
	run ssh_demo -o LogLevel=INFO -W 127.0.0.1:22 alice@demo </dev/null
	has "$output" "administratively prohibited"
	run client sftp -F "$work/ssh_config" -b /dev/null alice@demo
	[ "$status" != 0 ]
	in_machine ./setup.sh uninstall
	echo 2 >"$work/in"
	wait_for grep -qx 2 "$work/out"
}

@test "by hand, as the README says: an account gets an echo, and uninstall leaves it alone" {
	in_machine useradd -M -d / alice
	echo alice:known | in_machine chpasswd
	tree >"$work/tree.before"
	sed -n '/^        make install/,/^        sshd -t/p' README | sed 's/NAME/alice/; s/ && systemctl reload ssh//' >"$work/by-hand"
	[ "$(wc -l <"$work/by-hand")" = 4 ]
	in_machine mkdir -p /run/sshd
	in_machine sh -e "$work/by-hand"
	system_sshd_up -f /etc/ssh/sshd_config
	client_setup
	PASSWORD=known
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo alice@demo)"
	run ssh_demo -o LogLevel=INFO -W 127.0.0.1:22 alice@demo </dev/null
	has "$output" "administratively prohibited"

	run in_machine ./setup.sh uninstall
	same "0 echo-shell: nothing to do: nothing that setup.sh put on is here" "$status $output"
	in_machine sh -c 'echo "# mine" >>/etc/ssh/sshd_config.d/echo-shell.conf'
	tree >"$work/tree.before"
	run in_machine ./setup.sh drop-in
	same 1 "$status"
	has "$output" "setup.sh: /etc/ssh/sshd_config.d/echo-shell.conf is there and is not what setup.sh puts there"
	tree | diff "$work/tree.before" -
}

@test "uninstall does not open an account that somebody else put into the group" {
	in_machine ./setup.sh drop-in
	in_machine usermod -aG echo-shell stranger
	tree >"$work/tree.before"
	run in_machine ./setup.sh uninstall
	same 1 "$status"
	has "$output" "setup.sh: group echo-shell has members that setup.sh did not make: stranger; take them out of it first"
	tree | diff "$work/tree.before" -
}

@test "a program or a lock that is not ours is refused and stays" {
	for file in /usr/local/bin/echo-shell /etc/ssh/sshd_config.d/echo-shell.conf; do
		in_machine sh -c "echo '# mine' >$file"
		is_refused true "$file is there and is not what setup.sh puts there"
		in_machine rm "$file"
	done
}

@test "a lock that would change something for others is refused" {
	in_machine sh -c 'echo "MaxAuthTries 5" | tee -a sshd_config.d/echo-shell.conf >>sshd_config.d/port-2022/keep-out.conf
		sed -i "1i MaxSessions 5" sshd_config.d/echo-shell.conf sshd_config.d/port-2022/keep-out.conf'
	is_refused true "the system's sshd would not be what it was for all others"
}

@test "drop-in: each line of the lock is in force, whatever the main file says" {
	in_machine sh -c 'mkdir -p /run/sshd
		printf "PermitTunnel yes\nPermitUserRC yes\nAllowAgentForwarding yes\nAuthorizedKeysFile /x\nPermitEmptyPasswords yes\n" >>/etc/ssh/sshd_config'
	in_machine ./setup.sh drop-in
	in_machine ./setup.sh add-user alice
	in_machine sshd -T -C user=alice,host=h,addr=192.0.2.1 | tr '[:upper:]' '[:lower:]' >"$work/options"
	for option in "forcecommand exec /usr/local/bin/echo-shell" "permittty yes" "disableforwarding yes" \
		"permittunnel no" "allowagentforwarding no" "x11forwarding no" "permituserrc no" \
		"acceptenv echo_shell_takes_nothing" "authenticationmethods password" "passwordauthentication yes" \
		"permitemptypasswords no" "pubkeyauthentication no" "authorizedkeysfile none" "kbdinteractiveauthentication no"; do
		grep -qx "$option" "$work/options" || has "$(cat "$work/options")" "$option"
	done
	same 1 "$(grep -c '^acceptenv' "$work/options")"
}

@test "a Match that wins for some clients only is refused by the drop-in" {
	in_machine sh -c 'printf "Match Address 127.7.0.0/16\n\tDisableForwarding no\n" >/etc/ssh/sshd_config.d/00-lan.conf'
	run in_machine ./setup.sh drop-in
	same 1 "$status"
	has "$output" "'Match Address 127.7.0.0/16' comes before /etc/ssh/sshd_config.d/echo-shell.conf"
	in_machine ./setup.sh # whose lock nothing can take back
}

@test "a listener that hides its arguments, or its file among options, is found" {
	in_machine sh -c 'mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/own_key
		printf "Port 2299\nHostKey /etc/ssh/own_key\nPidFile /run/other.pid\n" >/etc/ssh/other_config
		/usr/sbin/sshd -p2299 -4f /etc/ssh/other_config'
	wait_for in_machine test -e /run/other.pid
	is_refused true "/etc/ssh/other_config does not hold"
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'kill "$(cat /run/other.pid)"; env -i /usr/sbin/sshd -p 2299 -o PidFile=/run/third.pid'
	wait_for in_machine test -e /run/third.pid
	is_refused true "an sshd that listens does not show its arguments"
}

@test "what runs in a container of this machine is left alone" {
	in_machine ./setup.sh
	uid=$(in_machine id -u demo)
	ssh-keygen -q -t ed25519 -N '' -f "$work/inner.key"
	cat >"$work/container" <<-END
		mkdir "$work/over/root" "$work/over/root.new" "$work/over/root.work"
		mount -t overlay overlay -o lowerdir=/,upperdir=$work/over/root.new,workdir=$work/over/root.work "$work/over/root"
		mount --rbind /dev "$work/over/root/dev"
		mount -t proc proc "$work/over/root/proc"
		mkdir -p "$work/over/root/run/sshd"
		chroot "$work/over/root" /usr/sbin/sshd -f /dev/null -h "$work/inner.key" -p 2298 \\
			-o PidFile="$work/inner.pid" -E "$work/inner.log"
		exec chroot "$work/over/root" setpriv --reuid=$uid --clear-groups sleep 300
	END
	in_machine unshare --pid --mount --fork sh "$work/container" &
	wait_for has_process_of "$uid"
	in_machine ./setup.sh uninstall
	has_process_of "$uid"
	fails in_machine grep SIGHUP "$work/over/root.new$work/inner.log"
}

has_process_of() {
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'grep -l "^Uid:.$0" /proc/[0-9]*/status' "$1"
}

@test "uninstall does not end a system's sshd whose configuration has an error by now" {
	system_sshd_up -f /etc/ssh/sshd_config
	in_machine ./setup.sh
	in_machine sh -c 'echo "Typo yes" >>/etc/ssh/sshd_config'
	run in_machine ./setup.sh uninstall
	same 0 "$status"
	has "$output" "is not reloaded: its configuration has an error"
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'kill -0 "$(cat /run/sshd.pid)"'
}

@test "the drop-in and the server exclude each other, and say so" {
	in_machine ./setup.sh drop-in
	run in_machine ./setup.sh
	has "$output" "setup.sh: the drop-in is here"
	in_machine ./setup.sh drop-in # twice is well
	in_machine ./setup.sh uninstall
	in_machine ./setup.sh
	run in_machine ./setup.sh drop-in
	has "$output" "setup.sh: the server is here"
}

@test "add-user makes users with passwords of their own; remove-user ends their sessions" {
	server_up
	in_machine ./setup.sh add-user alice bob >"$work/added"
	same 2 "$(grep -cE '^(alice|bob):[a-hjkmnp-z2-9]{20}$' "$work/added")"
	same 2 "$(cut -d : -f 2 "$work/added" | sort -u | wc -l)"
	fails grep -qE '(.)\1\1\1' "$work/added"
	printf 'carol:pass:with:colons \n_d-1:x' | in_machine ./setup.sh add-user -
	while IFS= read -r entry; do
		PASSWORD=${entry#*:}
		same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo "${entry%%:*}@demo")"
	done < <(cat "$work/added"; printf 'carol:pass:with:colons \n_d-1:x\n')

	mkfifo "$work/in"
	PASSWORD=x ssh_demo _d-1@demo <>"$work/in" &
	wait_for serving 1
	in_machine ./setup.sh remove-user _d-1 alice
	serving 0
	fails in_machine getent passwd alice
	fails in_machine getent passwd _d-1
	in_machine getent passwd bob
	run in_machine ./setup.sh remove-user bob stranger
	same "1 setup.sh: stranger is not an account that setup.sh made; nothing is removed" "$status $output"
	in_machine getent passwd bob
}

@test "add-user checks every line before it makes the first account" {
	run in_machine ./setup.sh add-user alice
	same "1 setup.sh: nothing is installed here: ./setup.sh or ./setup.sh drop-in first" "$status $output"
	in_machine ./setup.sh drop-in
	tree >"$work/tree.before"
	long=$(printf '%600s' x)
	for case in 'stranger:x|the account stranger exists already' 'root:x|the account root exists already' \
		'no colon|line 2 is not name:password' '|line 2 is not name:password' \
		'Bob:x|'"'Bob' is no name for an account" ':x|'"'' is no name for an account" \
		'-x:x|'"'-x' is no name for an account" 'a/b:x|'"'a/b' is no name for an account" \
		'alice:y|alice is there twice' 'bob:|the password of bob is empty or has' \
		$'bob:x\t|the password of bob is empty or has' "bob:$long|the password of bob is longer"; do
		# shellcheck disable=SC2016 # expanded in the machine
		run in_machine sh -c 'printf "%s\n" alice:x "$1" | ./setup.sh add-user -' sh "${case%|*}"
		same 1 "$status"
		has "$output" "setup.sh: ${case##*|}"
		same 1 "${#lines[@]}"
		tree | diff "$work/tree.before" -
	done
	run in_machine ./setup.sh add-user alice stranger
	has "$output" "setup.sh: the account stranger exists already"
	run in_machine ./setup.sh add-user bob:secret
	has "$output" "passwords are read from standard input"
	tree | diff "$work/tree.before" -
}

@test "status says what is here and who is on, and is 0 only when all is well" {
	run in_machine ./setup.sh status
	same 1 "$status"
	server_up
	in_machine ./setup.sh add-user alice
	mkfifo "$work/in"
	ssh_demo demo <>"$work/in" &
	wait_for serving 1
	run in_machine ./setup.sh status
	same 0 "$status"
	has "$output" "  server     up on port 2022 since "
	has "$output" "  host key   SHA256:"
	has "$output" "  user       alice, locked in the system's sshd"
	grep -qE '^  session    demo from 127\.[0-9.]+$' <<<"$output"

	in_machine sed -i 's/^Include/#Include/' /etc/ssh/sshd_config
	run in_machine ./setup.sh status
	same 1 "$status"
	has "$output" "  user       demo, NOT locked in the system's sshd"
	in_machine sed -i 's/^#Include/Include/' /etc/ssh/sshd_config
	# shellcheck disable=SC2016 # expanded in the machine
	in_machine sh -c 'kill "$(cat /run/echo-shell.pid)"'
	wait_for fails in_machine test -e /run/echo-shell.pid
	run in_machine ./setup.sh status
	same 1 "$status"
	has "$output" "  server     down"
}

@test "HOST_KEY=file gives the server an identity, and is checked" {
	in_machine ssh-keygen -q -t rsa -b 3072 -N '' -f "$work/key"
	in_machine ssh-keygen -q -t ed25519 -N secret -f "$work/locked"
	cp "$work/key" "$work/open"
	chmod 644 "$work/open"
	tree >"$work/tree.before"
	for case in "$work/none|must be a file of root's" "$work/open|must be a file of root's" \
		"$work/locked|is not a private key without a passphrase" "$work/said|is not a private key"; do
		: >"$work/said"
		chmod 600 "$work/said"
		run in_machine env HOST_KEY="${case%|*}" ./setup.sh
		same 1 "$status"
		has "$output" "setup.sh: HOST_KEY=${case%|*} ${case#*|}"
		tree | diff "$work/tree.before" -
	done
	HOST_KEY=$work/key server_up
	in_machine cmp "$work/key" /etc/ssh/echo-shell/ssh_host_key
	same "echo: 'hi'"$'\r' "$(printf hi | ssh_demo demo)"
}

@test "make install puts one file where a packager says, and make uninstall takes it off" {
	in_machine make install DESTDIR="$work/dest" PREFIX=/usr
	same "./usr/bin/echo-shell" "$(cd "$work/dest" && find . -type f)"
	same 755 "$(stat -c %a "$work/dest/usr/bin/echo-shell")"
	in_machine make uninstall DESTDIR="$work/dest" PREFIX=/usr
	same "" "$(cd "$work/dest" && find . -type f)"
}
