#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Puts echo-shell on this machine and takes it off again. As root:
#
#   ./setup.sh             the echo server on port 2022, for user demo
#   PORT=n ./setup.sh      the same on another port
#   ./setup.sh uninstall   takes off all that was put on
#   ./setup.sh test        the project's tests; TEST_HERE=1 lets them use this
#                          machine itself where namespaces are refused
#
# Each step pushes what undoes it before it is taken; whatever ends the run
# early, what it did is undone in the opposite order and one line says why.

set -eu
umask 022
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # root by plain su has none of them

here=$(cd "$(dirname "$0")" && pwd)
group=echo-shell
mark='echo-shell demo user' # in the comment field of each account we make
program=/usr/local/bin/echo-shell
own=/etc/ssh/echo-shell # all that belongs to the dedicated server
record=$own/installed   # what was put on: "cksum size file" and "package name"
lock=/etc/ssh/sshd_config.d/echo-shell.conf
unit=/etc/systemd/system/echo-shell.service
pidfile=/run/echo-shell.pid
logfile=/var/log/echo-shell.log # only where there is neither systemd nor syslog
no_start=/etc/ssh/sshd_not_to_be_run # Debian's own switch for its ssh service

work=    # a private folder for this run
undo=    # what undoes this run, last step first
failure= # the line to end with
changed= # set when this run changed something

# --- how a run ends ---------------------------------------------------------

step() {
	printf 'echo-shell: %s\n' "$*"
}

# Ends the run with one line; what was done is undone first, by finish.
die() {
	failure=$*
	exit 1
}

# Takes a command that undoes the step which comes next. It must do no harm
# where that step has not been taken or only half.
later() {
	undo="$1
$undo"
}

# Takes a file of messages; prints the last. sshd ends its own with CR LF.
last_line() {
	tail -n 1 "$1" | tr -d '\r'
}

# Runs a command quietly; where it fails, dies with what it was for and the last
# line that it printed.
try() {
	what=$1
	shift
	"$@" >"$work/output" 2>&1 ||
		die "cannot $what: $1: $(last_line "$work/output")"
}

# The EXIT trap: takes the exit status, undoes, cleans up.
finish() {
	trap - EXIT
	trap '' HUP INT TERM # an impatient second Ctrl-C must not stop the undoing
	if [ "$1" != 0 ]; then
		set +e
		if [ -n "$undo" ]; then
			eval "$undo" >/dev/null 2>&1
			failure="${failure:-stopped}; all that this run did is undone"
		fi
		printf 'setup.sh: %s\n' "${failure:-stopped with status $1}" >&2
	fi
	rm -rf "$work"
	exit "$1"
}

# --- what this machine has --------------------------------------------------

have() {
	case $1 in
	cc) echo '#include <unistd.h>' | cc -E - >/dev/null 2>&1 ;; # headers too
	*) command -v "$1" >/dev/null ;;
	esac
}

systemd_runs() {
	[ -d /run/systemd/system ]
}

port_listens() {
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
		awk -v port="$(printf ':%04X$' "$1")" \
			'$4 == "0A" && $2 ~ port { found = 1 } END { exit !found }'
}

# Takes a pid file; prints the pid in it if that process is an sshd.
sshd_pid() {
	pid=$(cat "$1" 2>/dev/null) &&
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sshd ] && echo "$pid"
}

server_runs() {
	sshd_pid "$pidfile" >/dev/null
}

installed_port() {
	sed -n 's/^Port //p' "$own/sshd_config" 2>/dev/null || :
}

# Runs a command every tenth of a second until it succeeds; fails after 10 s.
wait_for() {
	for _ in 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 \
		0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 \
		0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9; do
		"$@" && return
		sleep 0.1
	done
	return 1
}

# Takes program:package pairs and installs the packages whose programs are
# missing. A machine that had no sshd is left with none running or enabled.
install_packages() {
	programs=
	packages=
	for pair in "$@"; do
		have "${pair%%:*}" && continue
		programs="$programs ${pair%%:*}"
		packages="$packages $(echo "${pair#*:}" | tr , ' ')"
	done
	[ -n "$packages" ] || return 0
	have apt-get || die "missing here:$programs; install them and run this again"
	step "installing$packages"
	had_sshd=yes
	if ! have sshd; then
		had_sshd=
		mkdir -p /etc/ssh
		[ -e "$no_start" ] || later "rm -f '$no_start'"
		: >>"$no_start"
	fi
	export DEBIAN_FRONTEND=noninteractive
	try 'read the package lists' apt-get -q update
	# shellcheck disable=SC2086 # a list of words
	try "install$packages" apt-get -q -y --no-install-recommends install $packages
	[ -n "$had_sshd" ] || ! have sshd || keep_sshd_off
}

# Undoes what installing openssh-server enabled, where it was not here before.
keep_sshd_off() {
	if have systemctl; then
		try 'disable the ssh service' systemctl disable ssh.service
	else
		try 'disable the ssh service' update-rc.d ssh disable
	fi
	rm -f "$no_start"
}

# --- files ------------------------------------------------------------------

# Takes a name and the words before it in the record; without words, drops it.
note() {
	name=$1
	shift
	{
		grep -v " $name\$" "$record" 2>/dev/null || :
		[ $# = 0 ] || echo "$* $name"
	} >"$record.new"
	mv -f "$record.new" "$record"
}

# Takes a file; says whether it is as the record has it.
unchanged() {
	[ -e "$1" ] && grep -qxF "$(cksum "$1")" "$record" 2>/dev/null
}

# Takes a file, its destination and its mode; puts it there whole or not at all.
# One that an administrator has changed since stays as it is.
put() {
	if cmp -s "$1" "$2"; then
		unchanged "$2" || note "$2" "$(cksum <"$2")"
		return
	fi
	if [ ! -e "$2" ]; then
		later "rm -f '$2' '$2.new'; note '$2'"
	elif unchanged "$2"; then
		old=$work/old$(echo "$2" | tr / _)
		cp -p "$2" "$old"
		later "cp -p '$old' '$2'; note '$2' $(cksum <"$2")"
	else
		step "kept $2: it was changed since it was put there"
		return
	fi
	changed=yes
	try "write $2" cp "$1" "$2.new"
	try "write $2" chmod "$3" "$2.new"
	# Old and new are both ours until the old one is gone, whenever power fails.
	echo "$(cksum <"$1") $2" >>"$record"
	try "write $2" mv -f "$2.new" "$2"
	note "$2" "$(cksum <"$2")"
}

# Takes a file that we put there off again; keeps a copy of one changed since.
take_off() {
	if [ -e "$1" ] && ! unchanged "$1"; then
		cp -p "$1" "$1.saved"
		step "kept a copy of $1, which was changed since: $1.saved"
	fi
	rm -f "$1" "$1.new"
	note "$1"
}

# Takes a file of sshd_config.d; prints it for this machine: its port, its sshd,
# and each "#?" line live if this sshd knows the option.
render() {
	while IFS= read -r line; do
		option=${line#*"#? "}
		if [ "$option" != "$line" ]; then
			echo "$option" >"$work/option"
			if "$sshd" -t -f "$work/option" -h "$work/key" 2>/dev/null; then
				line=${line%%"#? "*}$option
			fi
		fi
		printf '%s\n' "$line"
	done <"$here/sshd_config.d/$1" |
		sed "s|^Port 2022\$|Port $port|; s|/usr/sbin/sshd|$sshd|"
}

# --- the system's own sshd --------------------------------------------------

# Prints what it holds for no one in particular, root, an account and a stranger.
system_view() {
	"$sshd" -T || return
	for user in root nobody a-stranger; do
		"$sshd" -T -C "user=$user,host=localhost,addr=127.0.0.1" || return
	done
}

# Has it read its configuration again, if it runs; open sessions stay open.
reload_system_sshd() {
	if systemd_runs; then
		for service in ssh.service sshd.service; do
			systemctl -q is-active "$service" || continue
			systemctl reload "$service"
			return
		done
	fi
	if pid=$(sshd_pid "$("$sshd" -T | sed -n 's/^pidfile //p')"); then
		kill -HUP "$pid"
	fi
}

# Takes an account; has the system's sshd show that it keeps that account out,
# and is for all others what it was.
prove_lock() {
	"$sshd" -T -C "user=$1,host=localhost,addr=127.0.0.1" >"$work/locked" 2>&1 ||
		die "the system's sshd refuses its configuration: $(last_line "$work/locked")"
	grep -qx "denygroups $group" "$work/locked" ||
		die "the system's sshd would let $1 in: it does not read $lock;" \
			"put 'Include /etc/ssh/sshd_config.d/*.conf' at the top of /etc/ssh/sshd_config"
	system_view >"$work/after" 2>&1 || :
	cmp -s "$work/before" "$work/after" ||
		die "with $lock in place the system's sshd is not for all others what it was"
}

# --- accounts ---------------------------------------------------------------

is_ours() {
	getent passwd "$1" | grep -q ":$mark:[^:]*:$program\$"
}

is_locked() {
	case $(getent shadow "$1" | cut -d: -f2) in
	'!'* | '*'*) ;;
	*) false ;;
	esac
}

# Makes an account that cannot log in yet. Its home exists, or sshd would say in
# the session that it does not; the shell is not in /etc/shells, so that other
# services which look there (FTP, chsh) refuse it.
make_account() {
	later "remove_account '$1'"
	try "make the account $1" useradd -r -M -d / -g "$group" -s "$program" -c "$mark" "$1"
	changed=yes
}

# Twenty of 31 letters and digits, none that looks like another: 99 bits.
random_password() {
	tr -dc 'abcdefghjkmnpqrstuvwxyz23456789' </dev/urandom | dd bs=1 count=20 2>/dev/null
}

# Takes an account and its password, which never is an argument of a program.
set_password() {
	later "usermod -p '!' '$1'"
	sync # the lock is on the disk before there is a password to lock out
	printf '%s:%s\n' "$1" "$2" | chpasswd >"$work/output" 2>&1 ||
		die "cannot set the password of $1: $(last_line "$work/output")"
}

# Ends every process of an account; fails if one stays.
end_sessions() {
	uid=$(id -u "$1")
	wait_for no_processes "$uid"
}

no_processes() {
	pids=$(awk -v uid="$1" '/^Pid:/ { pid = $2 } /^Uid:/ && $2 == uid { print pid }' \
		/proc/[0-9]*/status 2>/dev/null) || :
	# shellcheck disable=SC2086 # a list of words
	[ -z "$pids" ] || ! kill -KILL $pids
}

remove_account() {
	getent passwd "$1" >/dev/null || return 0
	usermod -p '!' "$1"
	end_sessions "$1"
	userdel "$1"
}

# --- the dedicated server ---------------------------------------------------

start_server() {
	if systemd_runs; then
		systemctl daemon-reload
		systemctl -q enable echo-shell.service
		systemctl restart echo-shell.service
	else
		stop_server
		log=
		if [ ! -S /dev/log ]; then
			log="-E $logfile"
			[ -e "$logfile" ] || later "rm -f '$logfile'"
		fi
		# shellcheck disable=SC2086 # two words or none
		"$sshd" -f "$own/sshd_config" $log
	fi
	wait_for port_listens "$(installed_port)"
}

# Ends the listener, and its start at boot; open sessions go on.
stop_server() {
	if [ -e "$unit" ]; then
		systemctl -q disable echo-shell.service
		! systemd_runs || systemctl stop echo-shell.service
	fi
	if pid=$(sshd_pid "$pidfile"); then
		kill "$pid"
		wait_for [ ! -e "/proc/$pid" ]
	fi
}

# Logs in over loopback with the password, as anyone would, and compares what
# comes back. ssh asks this script for the password: see main.
check_login() {
	sent='setup \xff\r'
	printf '[127.0.0.1]:%s %s\n' "$port" "$(cat "$own/ssh_host_key.pub")" \
		>"$work/known_hosts"
	printf 'setup \377\r' |
		ECHO_SHELL_PASSWORD=$1 SSH_ASKPASS=$here/setup.sh SSH_ASKPASS_REQUIRE=force \
			ssh -q -F none -p "$port" -o "UserKnownHostsFile=$work/known_hosts" \
			-o StrictHostKeyChecking=yes -o NumberOfPasswordPrompts=1 \
			-o ConnectTimeout=10 -o ServerAliveInterval=5 demo@127.0.0.1 \
			>"$work/answer" 2>"$work/output" ||
		die "the server is up but demo cannot log in: $(last_line "$work/output")"
	printf "echo: '%s'\\r\\n" "$sent" | cmp -s - "$work/answer" ||
		die "the server is up but its echo is wrong: $(cat "$work/answer")"
}

# --- the commands -----------------------------------------------------------

need_root() {
	[ "$(id -u)" = 0 ] || die "must be run as root: sudo $0${*:+ $*}"
}

# Finds whatever would stop the installation, before anything is changed.
check_first() {
	need_root
	port=${PORT:-$(installed_port)}
	port=${port:-2022}
	case $port in
	0* | *[!0-9]* | ??????*) die "PORT=$port is not a port: take one from 1 to 65535" ;;
	esac
	[ "$port" -le 65535 ] || die "PORT=$port is not a port: take one from 1 to 65535"
	if getent passwd demo >/dev/null && ! is_ours demo; then
		die "the account demo exists and is not echo-shell's: rename or remove it first"
	fi
	if port_listens "$port" && ! { server_runs && [ "$port" = "$(installed_port)" ]; }; then
		die "port $port is taken: choose another one, PORT=n ./setup.sh"
	fi
	install_packages cc:gcc,libc6-dev make:make sshd:openssh-server ssh:openssh-client \
		awk:mawk cmp:diffutils useradd:passwd
	sshd=$(command -v sshd)
	step "checking what sshd takes"
	# sshd -t wants the empty directory that its service makes.
	empty=$("$sshd" -t 2>&1 | tr -d '\r' | sed -n 's/^Missing privilege separation directory: //p')
	[ -z "$empty" ] || mkdir -p "$empty"
	system_view >"$work/before" 2>"$work/output" ||
		die "the system's sshd refuses its own configuration: $(last_line "$work/output"); mend it first"
	ssh-keygen -q -t ed25519 -N '' -C "$group" -f "$work/key"
	for file in echo-shell.conf port-2022/sshd_config port-2022/keep-out.conf \
		port-2022/banner port-2022/echo-shell.service; do
		render "$file" >"$work/${file#*/}"
	done
	sed "s|$own/ssh_host_key|$work/key|; s|$own|$work|" "$work/sshd_config" >"$work/config"
	"$sshd" -t -f "$work/config" >"$work/output" 2>&1 ||
		die "this sshd refuses the server's configuration: $(last_line "$work/output")"
}

install_server() {
	check_first
	step "building"
	try build make -C "$here" echo-shell

	step "installing $program and keeping demo out of the system's sshd"
	[ -d "$own" ] || later "rm -rf '$own'"
	mkdir -p "$own"
	for package in $packages; do
		note "$package" package
	done
	put "$here/echo-shell" "$program" 755
	later reload_system_sshd
	put "$work/keep-out.conf" "$lock" 644
	if ! getent group "$group" >/dev/null; then
		later "groupdel $group"
		try "make the group $group" groupadd -r "$group"
	fi
	is_ours demo || make_account demo
	prove_lock demo
	[ -z "$changed" ] || reload_system_sshd

	earlier=$changed
	changed=
	! server_runs || later start_server
	if [ ! -e "$own/ssh_host_key" ]; then
		put "$work/key" "$own/ssh_host_key" 600
		put "$work/key.pub" "$own/ssh_host_key.pub" 644
	fi
	put "$work/echo-shell.conf" "$own/echo-shell.conf" 644
	put "$work/sshd_config" "$own/sshd_config" 644
	put "$work/banner" "$own/banner" 644
	if systemd_runs; then
		later 'systemctl daemon-reload'
		put "$work/echo-shell.service" "$unit" 644
	fi
	if [ -n "$changed" ] || ! server_runs; then
		step "starting the server on port $port"
		server_runs || later stop_server
		start_server >"$work/output" 2>&1 ||
			die "the server does not come up on port $port: $(server_log)"
		changed=yes
	fi

	password=
	if is_locked demo || ! grep -qx 'complete demo' "$record"; then
		step "giving demo a password and logging in with it"
		password=$(random_password)
		set_password demo "$password"
		check_login "$password"
		note demo complete
	fi
	undo=
	summary
}

server_log() {
	if systemd_runs; then
		journalctl -q -n 1 -o cat -u echo-shell.service
	else
		tail -n 1 "$logfile"
	fi 2>/dev/null
}

summary() {
	[ -n "$changed$earlier$password" ] || step "nothing to do: it is all there and runs; nothing was changed or restarted"
	host=localhost # which a machine without /etc/hosts does not know
	getent hosts "$host" >/dev/null || host=127.0.0.1
	echo
	echo "  log in     ssh -p $port demo@$host    (from elsewhere: this machine's name)"
	if [ -n "$password" ]; then
		echo "  password   $password    (kept nowhere: note it now; 'passwd demo' changes it)"
	fi
	echo "  host key   $(ssh-keygen -lf "$own/ssh_host_key.pub" | cut -d ' ' -f 2)"
	echo "  leave      Enter ~ ."
	echo "  take off   ./setup.sh uninstall"
	systemd_runs || printf '\nThere is no systemd here: after a reboot the server does not come back by itself; ./setup.sh starts it.\n'
}

uninstall() {
	need_root uninstall
	if [ ! -e "$record" ] && ! getent group "$group" >/dev/null; then
		step "nothing to do: nothing of echo-shell is here"
		return
	fi
	sshd=$(command -v sshd || echo :)
	step "ending the server and its sessions"
	stop_server
	for user in $(getent passwd | grep ":$mark:[^:]*:$program\$" | cut -d: -f1); do
		try "remove the account $user" remove_account "$user"
	done
	if getent group "$group" >/dev/null; then
		try "remove the group $group" groupdel "$group"
	fi
	step "taking off the files"
	if [ -e "$lock" ]; then
		take_off "$lock"
		reload_system_sshd
	fi
	for file in "$program" "$unit" "$own/sshd_config" "$own/echo-shell.conf" \
		"$own/banner" "$own/ssh_host_key" "$own/ssh_host_key.pub"; do
		take_off "$file"
	done
	rm -f "$logfile"
	! systemd_runs || systemctl daemon-reload
	packages=$(sed -n 's/^package //p' "$record" | tr '\n' ' ')
	[ -z "$packages" ] || step "these packages were installed with it and stay: $packages"
	rm -f "$record"
	rmdir "$own" 2>/dev/null || step "kept $own: it holds files that setup.sh did not make"
}

run_tests() {
	install_packages cc:gcc,libc6-dev make:make sshd:openssh-server ssh:openssh-client \
		shellcheck:shellcheck bats:bats
	cd "$here"
	try build make echo-shell tests/talk
	{ bats --tap tests 3>&1 || :; } | tee "$work/tap"
	awk '/^ok .* # skip/ { skipped++; next } /^ok / { passed++ } /^not ok / { failed++ }
		{ planned += sub(/^1\.\./, "") ? $1 : 0 }
		END {
			printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
			exit failed || passed + skipped != planned || ENVIRON["CI"] == "true" && skipped
		}' "$work/tap" || exit 1
}

usage() {
	sed -n 's/^#   //p' "$here/setup.sh"
}

main() {
	# The askpass program of check_login's ssh is this script: no file holds it.
	if [ -n "${ECHO_SHELL_PASSWORD+set}" ]; then
		printf '%s\n' "$ECHO_SHELL_PASSWORD"
		return
	fi
	trap 'finish $?' EXIT
	trap 'failure=interrupted; exit 129' HUP
	trap 'failure=interrupted; exit 130' INT
	trap 'failure=interrupted; exit 143' TERM
	work=$(mktemp -d)
	case ${1-} in
	'') install_server ;;
	test) run_tests ;;
	uninstall) uninstall ;;
	-h | --help | help) usage ;;
	*) die "no such command: $1; see ./setup.sh --help" ;;
	esac
}

main "$@"
