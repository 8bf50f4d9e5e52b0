#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Puts echo-shell on this machine and takes it off again. As root:
#
#   ./setup.sh                      the echo server on port 2022, for user demo
#   PORT=n HOST_KEY=file ./setup.sh the same on another port, with a key of yours
#   ./setup.sh drop-in              no server: the echo on the sshd that is here
#   ./setup.sh add-user NAME...     more demo users; prints name:password for each
#   ./setup.sh add-user -           the same from lines of name:password on stdin
#   ./setup.sh remove-user NAME...  takes demo users off, and ends their sessions
#   ./setup.sh status               what is here and who is on; 0 if all is well
#   ./setup.sh uninstall            takes off all that was put on
#   ./setup.sh test                 the project's tests; TEST_HERE=1 lets them use
#                                   this machine itself where namespaces are refused
#
# Each step pushes what undoes it before it is taken; whatever ends the run
# early, what it did is undone in the opposite order and one line says why.

set -eu
umask 022
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # root by plain su has none of them

here=$(unset CDPATH && cd "$(dirname "$0")" && pwd)
group=echo-shell
mark='echo-shell demo user' # in the comment field of each account we make
probe=echo-shell-probe      # one that lives for a proof only
program=/usr/local/bin/echo-shell
own=/etc/ssh/echo-shell # all that belongs to the dedicated server
record=$own/installed   # what was put on: "cksum size FILE", "package NAME", "user ~NAME"
lock=/etc/ssh/sshd_config.d/echo-shell.conf
unit=/etc/systemd/system/echo-shell.service
socket=/etc/systemd/system/echo-shell.socket # only where sshd takes one
pidfile=/run/echo-shell.pid
logfile=/var/log/echo-shell.log # only where there is neither systemd nor syslog
no_start=/etc/ssh/sshd_not_to_be_run # Debian's own switch for its ssh service

work=    # a private folder for this run
undo=    # what undoes this run, last step first
failure= # the line to end with
changed= # set when this run changed something

# --- how a run ends ---------------------------------------------------------

step() {
	printf 'echo-shell: %s\n' "$*" 2>/dev/null # or a shell adds a line of its own
}

# Ends the run with one line; what was done is undone first, by finish.
die() {
	failure=$*
	exit 1
}

# Takes a line that undoes the step which comes next. It must do no harm and
# succeed where that step has not been taken or only half.
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
	trap '' HUP INT QUIT PIPE TERM # an impatient second Ctrl-C must not stop the undoing
	if [ "$1" != 0 ]; then
		set +e
		failure=${failure:-stopped with status $1}
		if [ -n "$undo" ]; then
			# Each in a shell of its own: one that dies must not stop the others.
			left=$(printf '%s' "$undo" | while IFS= read -r line; do
				(eval "$line") >/dev/null 2>&1 </dev/null || printf ', %s' "$line"
			done)
			failure="$failure; all that this run did is undone"
			[ -z "$packages" ] || failure="$failure, but$packages stay"
			[ -z "$left" ] || failure="$failure, but this failed$left"
		fi
		printf 'setup.sh: %s\n' "$failure" >&2
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

# Takes a process; whether it is of this machine, and not of a container on it.
is_here() {
	[ "$(readlink "/proc/$1/ns/pid")" = "$(readlink /proc/self/ns/pid)" ]
}

# Takes a program's name; prints the pids of its processes.
processes() {
	for process in /proc/[0-9]*; do
		process=${process#/proc/}
		if read -r name <"/proc/$process/comm" && [ "$name" = "$1" ] && is_here "$process"; then
			echo "$process"
		fi
	done 2>/dev/null
}

# Prints for each sshd that listens its pid, and its configuration file: "-" for the
# default one, "?" where its title is too short to tell. A session may listen too,
# for a forwarding; its title has an @, or its parent is an sshd.
listeners() {
	sockets=$(awk '$4 == "0A" { print "socket:[" $10 "]" }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
	[ -n "$sockets" ] || return 0
	for process in $(processes sshd); do
		# shellcheck disable=SC2010 # not for the names, for what they point to
		ls -l "/proc/$process/fd" | grep -qF "$sockets" || continue
		read -r name <"/proc/$(awk '/^PPid:/ { print $2 }' "/proc/$process/status")/comm"
		[ "$name" != sshd ] || continue
		tr '\0' ' ' <"/proc/$process/cmdline" | awk -v "pid=$process" '
			/^sshd: [^\/ ]*@/ { exit }
			!/\[listener\]/ { print pid, "?"; exit }
			{
				file = "-"
				for (i = 3; i <= NF && $i != "[listener]"; i++)
					if (sub(/^-[46DGQRTdeiqrtV]*/, "", $i) && $i != "") {
						option = substr($i, 1, 1)
						value = length($i) > 1 ? substr($i, 2) : $(++i)
						if (option == "f")
							file = value
					}
				print pid, file
			}'
	done 2>/dev/null
}

# Prints the pid of our own.
server_pid() {
	listeners | sed -n "s|^\([0-9]*\) $own/sshd_config\$|\1|p"
}

server_runs() {
	[ -n "$(server_pid)" ]
}

# Whether systemd holds our socket, be the server up or down.
socket_is_open() {
	systemd_runs && systemctl -q is-active "${socket##*/}"
}

server_is_installed() {
	[ -e "$own/sshd_config" ]
}

installed_port() {
	sed -n '/^Port /{s///p;q;}' "$own/sshd_config" 2>/dev/null || :
}

# Runs a command every tenth of a second until it succeeds; fails after 10 s.
wait_for() {
	tries=100
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" != 0 ] || return
		sleep 0.1
	done
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
	# No must: without it the program is built with the C library that is here. Of no
	# use where it is built already.
	wanted=
	have musl-gcc || ! have apt-get || make -q -C "$here" echo-shell >/dev/null 2>&1 ||
		wanted=' musl-tools'
	[ -n "$packages$wanted" ] || return 0
	have apt-get || die "missing here:$programs; install them and run this again"
	step "installing$packages$wanted"
	if ! have sshd && [ ! -e "$no_start" ]; then
		mkdir -p /etc/ssh
		later "rm -f '$no_start'"
		echo "$mark" >"$no_start" # ours, also after a power cut: see keep_sshd_off
	fi
	export DEBIAN_FRONTEND=noninteractive
	# A repository that does not answer need not be the one that has them.
	apt-get -q update >"$work/output" 2>&1 || step "not all package lists are new: $(last_line "$work/output")"
	# shellcheck disable=SC2086 # a list of words
	[ -z "$packages" ] || try "install$packages" apt-get -q -y --no-install-recommends install $packages
	if [ -n "$wanted" ]; then
		# shellcheck disable=SC2086 # a word without its blank
		if apt-get -q -y --no-install-recommends install $wanted >"$work/output" 2>&1; then
			packages=$packages$wanted
		else
			step "going on without$wanted: $(last_line "$work/output")"
		fi
	fi
	keep_sshd_off
	undo= # packages stay
}

# Undoes what installing openssh-server enabled, if it was we who installed it, in
# this run or in one that was cut off.
keep_sshd_off() {
	grep -qsxF "$mark" "$no_start" || return 0
	if ! have sshd; then
		: # cut off before it came
	elif have systemctl; then
		try 'disable the ssh service' systemctl disable ssh.service ssh.socket
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
	: >>"$record" && awk -v "name=$name" -v "words=$*" \
		'$NF != name { print } END { if (words != "") print words, name }' \
		"$record" | sort >"$record.new" && mv -f "$record.new" "$record" && return
	die "cannot write $record"
}

# Takes a file; says whether it is as the record has it.
unchanged() {
	[ -e "$1" ] && grep -qxF "$(cksum "$1")" "$record" 2>/dev/null
}

# Takes a file as the record has it, that will change or go; keeps it for the undo.
keep() {
	old=$work/old$(echo "$1" | tr / _)
	try "copy $1" cp -p "$1" "$old"
	later "cp -p '$old' '$1.new' && mv -f '$1.new' '$1' && note '$1' $(cksum <"$1")"
}

# Takes a file; says whether the record has it, as it is or changed since.
recorded() {
	grep -q " $1\$" "$record" 2>/dev/null
}

# Takes a file, its destination and its mode; puts it there whole or not at all. A
# configuration that an administrator has changed since stays as it is; a file that
# is none of ours, or a program or lock that is not what we put there, is an error.
put() {
	! cmp -s "$1" "$2" || return 0
	later "rm -f '$2.new'"
	if [ ! -e "$2" ]; then
		later "rm -f '$2' && note '$2'"
	elif unchanged "$2"; then
		keep "$2"
	elif recorded "$2" && [ "$2" != "$program" ] && [ "$2" != "$lock" ]; then
		step "kept $2: it was changed since it was put there"
		return
	else
		die "$2 is there and is not what setup.sh puts there: move it away and run this again"
	fi
	changed=yes
	try "write $2" cp "$1" "$2.new"
	try "write $2" chmod "$3" "$2.new"
	# Old and new are both ours until the old one is gone, whenever power fails.
	echo "$(cksum <"$1") $2" >>"$record" || die "cannot write $record"
	try "write $2" mv -f "$2.new" "$2"
	note "$2" "$(cksum <"$2")"
}

# Takes a file off again, if it was we who put it there; keeps a copy of one that
# was changed since.
take_off() {
	if [ -e "$1" ] && recorded "$1"; then
		if unchanged "$1"; then
			keep "$1"
		else
			saved=$1.saved
			while [ -e "$saved" ]; do saved=$saved~; done
			later "[ ! -e '$saved' ] || mv -f '$saved' '$1'; note '$1' $(awk -v name="$1" '$NF == name { print $1, $2 }' "$record")"
			try "take off $1" cp -p "$1" "$saved"
			step "kept a copy of $1, which was changed since it was put there: $saved"
		fi
		try "take off $1" rm -f "$1"
		note "$1"
	fi
	try "take off $1.new" rm -f "$1.new"
}

# Takes a file of sshd_config.d; prints it for this machine: its port, its sshd and
# whether that takes a socket, and each "#?" line live if this sshd knows the option.
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
		sed "s|^Port 2022\$|Port $port|; s|^\(ListenStream=.*:\)2022\$|\1$port|; s|/usr/sbin/sshd|$sshd|
			${takes_socket:+s|kill -HUP|kill|; s|^Restart=.*|Restart=always|;} ${no_ipv6:+/^ListenStream=\[/d}"
}

# --- the system's own sshd --------------------------------------------------

# Prints what it holds for no one in particular, root, an ordinary user, a stranger.
system_view() {
	"$sshd" -T || return
	ordinary=$(getent passwd | awk -F : '$3 >= 1000 { print $1; exit }')
	for user in root "${ordinary:-nobody}" a-stranger; do
		"$sshd" -T -C "user=$user,host=localhost,addr=127.0.0.1" || return
	done
}

# Prints the listeners but for our own.
other_listeners() {
	listeners | grep -v " $own/sshd_config\$" || :
}

# Takes a configuration file, or - for the default one, and options; runs sshd.
sshd_with() {
	file=$1
	shift
	if [ "$file" = - ]; then "$sshd" "$@"; else "$sshd" -f "$file" "$@"; fi
}

# Has each of them read its configuration again, unless it would end with an error;
# open sessions stay open. It is "systemctl reload", also without systemd.
reload_system_sshd() {
	# Where systemd holds the socket, a HUP ends sshd, which cannot bind it again
	# (Debian 13). Stopped, the next connection starts it; sessions go on.
	if systemd_runs && systemctl -q is-active ssh.socket; then
		systemctl stop ssh.service
	fi
	other_listeners | while read -r pid file; do
		if sshd_with "$file" -t 2>/dev/null; then
			kill -HUP "$pid" || :
		else
			step "the sshd with pid $pid is not reloaded: its configuration has an error (sshd -t)"
		fi
	done
}

# Puts in force a lock that was put in place, by this run or by one cut off since.
apply_lock() {
	if grep -qx 'pending :reload' "$record"; then
		try "write to the disk" sync # before there is a password to lock out
		reload_system_sshd
		note :reload
	fi
}

# Prints the options of a file of ours, or of "sshd -T", which has written keywords
# in small letters and from 10.6 on in mixed ones, in one form.
options() {
	awk '/^\t?[A-Za-z]/ { keyword = tolower($1); sub(/^\t?[^ ]+/, ""); print keyword $0 }' "$1"
}

# Takes an account; has sshd show, for the system's configuration and for that of
# each other sshd that listens, that the account is held to each line of the lock.
prove_lock() {
	options "$source" | grep -v '^match ' >"$work/lock"
	for file in $({ echo -; other_listeners | cut -d ' ' -f 2-; } | sort -u); do
		[ "$file" != '?' ] ||
			die "an sshd that listens does not show its arguments: start it from an environment that is not empty"
		sshd_with "$file" -T -ddd -C "user=$1,host=localhost,addr=127.0.0.1" \
			>"$work/output" 2>"$work/debug" ||
			die "sshd refuses its configuration: $(last_line "$work/debug")"
		[ "$file" != - ] || file=/etc/ssh/sshd_config
		options "$work/output" >"$work/locked"
		# A list may hold more than our line, where that does not weaken it.
		loose=$(awk 'NR == FNR { lock[$0]; keyword[$1]; next } $0 in lock { delete lock[$0]; next }
			$1 in keyword && $1 != "denygroups" { lock[$0] }
			END { for (line in lock) { print line; exit } }' "$work/lock" "$work/locked")
		[ -z "$loose" ] ||
			die "$file does not hold $1 to $lock ($loose): put the line" \
				"'Include /etc/ssh/sshd_config.d/*.conf' at its top, before every Match"
		# What stands before the lock wins; it was asked for one address only.
		first=$(tr -d '\r' <"$work/debug" | sed -n "/checking match for/{s/.*checking match for '\(.*\)' user .*/\1/p;/'Group $group'/q;}" |
			grep -iE 'address|host|port|rdomain|version' | head -n 1)
		[ -z "$first" ] || grep -q '^denygroups' "$work/lock" ||
			die "'Match $first' comes before $lock and wins for some clients: move it behind"
	done
}

# Has sshd show that for all but demo users its configuration is what it was.
prove_others() {
	system_view >"$work/after" 2>&1 || :
	cmp -s "$work/before" "$work/after" ||
		die "with $lock the system's sshd would not be what it was for all others"
}

# --- accounts ---------------------------------------------------------------

is_ours() {
	getent passwd "$1" | grep -q ":$mark:[^:]*:$program\$"
}

# Whether an account's password was printed; until then a run was cut off.
is_complete() {
	grep -qxF "user ~$1" "$record" 2>/dev/null
}

all_users() {
	getent passwd | grep ":$mark:[^:]*:$program\$" | cut -d : -f 1
}

# Makes an account that cannot log in yet. Its home exists, or sshd would say in
# the session that it does not; the shell is not in /etc/shells, so that other
# services which look there (FTP, chsh) refuse it.
make_account() {
	later "remove_account '$1' && note '~$1'"
	is_ours "$1" || try "make the account $1" useradd -r -M -d / -g "$group" -s "$program" -c "$mark" "$1"
	changed=yes
}

# Twenty of 31 letters and digits, none that looks like another: 99 bits.
random_password() {
	tr -dc 'abcdefghjkmnpqrstuvwxyz23456789' </dev/urandom | dd bs=1 count=20 2>/dev/null
}

# Takes an account and its password, which never is an argument of a program; with a
# third word, one of ours, which nobody guesses: a login need not wait for a slow hash.
set_password() {
	later "usermod -p '!' '$1'"
	quick=
	[ -z "${3-}" ] || ! chpasswd --help 2>&1 | grep -q sha-rounds || quick='-c SHA512 -s 1000'
	# shellcheck disable=SC2086 # words or none
	printf '%s:%s\n' "$1" "$2" | chpasswd $quick >"$work/output" 2>&1 ||
		die "cannot set the password of $1: $(last_line "$work/output")"
}

# Ends every process of an account; fails if one stays.
end_sessions() {
	uid=$(id -u "$1") && wait_for no_processes "$uid"
}

no_processes() {
	pids=$(awk -v uid="$1" '/^Pid:/ { pid = $2 } /^Uid:/ && $2 == uid { print pid }' \
		/proc/[0-9]*/status 2>/dev/null) || :
	none=yes
	for pid in $pids; do
		! is_here "$pid" || { none=; kill -KILL "$pid" || :; }
	done
	[ -n "$none" ]
}

# Takes an account off: no new login first, then its sessions, then itself.
remove_account() {
	getent passwd "$1" >/dev/null || return 0
	later "restore_account '$1' '$(id -u "$1")' '$(getent shadow "$1" | cut -d : -f 2)'"
	usermod -p '!' "$1" && end_sessions "$1" && userdel "$1"
}

# Takes an account as it was: name, number and hashed password.
restore_account() {
	getent passwd "$1" >/dev/null ||
		useradd -r -M -d / -g "$group" -s "$program" -c "$mark" -u "$2" "$1"
	printf '%s:%s\n' "$1" "$3" | chpasswd -e
}

# --- the dedicated server ---------------------------------------------------

# Has the server start at boot; leaves the names of its units in $units.
enable_units() {
	units=echo-shell.service
	[ ! -e "$socket" ] || units="$units echo-shell.socket"
	# shellcheck disable=SC2086 # a list of words
	systemctl daemon-reload && systemctl -q enable $units
}

start_server() {
	if systemd_runs; then
		# Not a restart: systemd opens no socket for a service that runs.
		# shellcheck disable=SC2086 # a list of words
		enable_units && systemctl stop $units && systemctl start echo-shell.service || return
	else
		stop_server || return
		log=
		if [ ! -S /dev/log ]; then
			log="-E $logfile"
			[ -e "$logfile" ] || later "rm -f '$logfile'"
		fi
		# shellcheck disable=SC2046,SC2086 # words
		env $(sed -n 's/^Environment=//p' "$here/sshd_config.d/port-2022/echo-shell.service") \
			"$sshd" -f "$own/sshd_config" $log || return
	fi
	wait_for server_runs
}

# Takes a unit's file; stops the unit, and its start at boot.
end_unit() {
	[ -e "$1" ] || return 0
	systemctl -q disable "${1##*/}"
	! systemd_runs || systemctl stop "${1##*/}"
}

# Ends the listener, and its start at boot; open sessions go on.
stop_server() {
	end_unit "$socket" # first: it would start the service for the next connection
	end_unit "$unit"
	pid=$(server_pid)
	[ -z "$pid" ] || { kill "$pid" && wait_for [ ! -e "/proc/$pid" ]; }
}

# Runs ssh for demo over loopback, as anyone would. It asks this script for the
# password: see main.
ssh_demo() {
	ECHO_SHELL_PASSWORD=$password SSH_ASKPASS=$here/setup.sh SSH_ASKPASS_REQUIRE=force \
		ssh -F none -p "$port" -o LogLevel=ERROR -o HostKeyAlias="$group" \
		-o "UserKnownHostsFile=$work/known_hosts" -o StrictHostKeyChecking=yes \
		-o NumberOfPasswordPrompts=1 -o ConnectTimeout=10 -o ServerAliveInterval=5 \
		"$@" "demo@$address" >"$work/answer" 2>"$work/output"
}

# Logs in with $password, without and with a terminal, and compares what comes back;
# before it, there may be what an administrator's sshrc prints.
check_login() {
	printf '%s %s\n' "$group" "$(cat "$own/ssh_host_key.pub")" >"$work/known_hosts"
	address=$(listens | sed "s/:$port\$//; s/[][]//g; s/^0.0.0.0\$/127.0.0.1/; s/^::\$/::1/; q")
	printf 'setup \377\r' | ssh_demo ||
		die "the server is up but demo cannot log in: $(last_line "$work/output")"
	tail -n 1 "$work/answer" >"$work/last"
	printf "echo: '%s'\\r\\n" 'setup \xff\r' | cmp -s - "$work/last" ||
		die "the server is up but its echo is wrong: $(cat "$work/last")"
	# What comes early is echoed, too. Enter ~ . ends ssh, with a status that is none.
	{
		printf setup
		wait_for answered || wait_for answered || wait_for answered || : # as long as a login may take
		printf '\r~.'
	} | {
		ssh_demo -tt || :
		: >"$work/gone"
	}
	grep -q "echo: 'setup'" "$work/answer" ||
		die "the server is up but gives demo no terminal: $(last_line "$work/output") $(server_log || :)"
}

# Whether the login with a terminal has its answer, or is over.
answered() {
	[ -e "$work/gone" ] || grep -qs "echo: 'setup'" "$work/answer"
}

# --- the commands -----------------------------------------------------------

need_root() {
	[ "$(id -u)" = 0 ] || die "must be run as root: sudo ./setup.sh${*:+ $*}"
}

# Finds what would stop the server alone, before anything is changed.
check_server() {
	port=${PORT:-$(installed_port)}
	port=${port:-2022}
	case $port in
	0* | *[!0-9]* | ??????*) die "PORT=$port is not a port: take one from 1 to 65535" ;;
	esac
	[ "$port" -le 65535 ] || die "PORT=$port is not a port: take one from 1 to 65535"
	[ -x "$here/setup.sh" ] || die "$here/setup.sh must be executable, ssh runs it: chmod +x setup.sh"
	if getent passwd demo >/dev/null && ! is_ours demo; then
		die "the account demo exists and is not echo-shell's: rename or remove it first"
	fi
	if port_listens "$port" && ! { [ "$port" = "$(installed_port)" ] && { server_runs || socket_is_open; }; }; then
		die "port $port is taken: choose another one, PORT=n ./setup.sh"
	fi
	if grep -qs ForceCommand "$lock"; then
		die "the drop-in is here, $lock; the server keeps its users out of that sshd:" \
			"./setup.sh uninstall first"
	fi
	if [ -n "${HOST_KEY-}" ]; then
		[ -n "$(find -H "$HOST_KEY" -prune -type f -user 0 \( -perm 600 -o -perm 400 \) 2>/dev/null)" ] ||
			die "HOST_KEY=$HOST_KEY must be a file of root's that nobody else can read: chown root, chmod 600"
	fi
}

# Says which of our files is the lock, by how we were installed.
find_source() {
	source=$here/sshd_config.d/echo-shell.conf
	! server_is_installed || source=$here/sshd_config.d/port-2022/keep-out.conf
}

# sshd -t and -T want the empty directory that its service makes.
find_sshd() {
	sshd=$(command -v sshd) || die "sshd is missing: install openssh-server"
	empty=$("$sshd" -t 2>&1 | tr -d '\r' | sed -n 's/^Missing privilege separation directory: //p')
	[ -z "$empty" ] || mkdir -p "$empty"
}

# Finds what would stop either way of installing, before anything is changed.
check_machine() {
	install_packages cc:gcc,libc6-dev make:make sshd:openssh-server ssh:openssh-client \
		awk:mawk cmp:diffutils useradd:passwd
	find_sshd
	step "checking what sshd takes"
	system_view >"$work/before" 2>"$work/output" ||
		die "the system's sshd refuses its own configuration: $(last_line "$work/output"); mend it first"
	if [ -n "${HOST_KEY-}" ]; then
		try "read HOST_KEY=$HOST_KEY" cp "$HOST_KEY" "$work/key"
		ssh-keygen -y -P '' -f "$work/key" >"$work/key.pub" 2>"$work/output" ||
			die "HOST_KEY=$HOST_KEY is not a private key without a passphrase: $(last_line "$work/output")"
	else
		ssh-keygen -q -t ed25519 -N '' -C "$group" -f "$work/key"
	fi
	for file in echo-shell.conf port-2022/sshd_config port-2022/keep-out.conf port-2022/banner; do
		render "$file" >"$work/${file#*/}"
	done
	sed "s|$own/ssh_host_key|$work/key|; s|$own|$work|" "$work/sshd_config" >"$work/config"
	"$sshd" -t -f "$work/config" >"$work/output" 2>&1 ||
		die "this sshd refuses the server's configuration: $(last_line "$work/output")"
	# One that an administrator changed will be kept. Its host key may be about to come.
	[ ! -e "$own/sshd_config" ] || unchanged "$own/sshd_config" ||
		"$sshd" -t -f "$own/sshd_config" -h "$work/key" >"$work/output" 2>&1 ||
		die "sshd refuses $own/sshd_config: $(last_line "$work/output"); mend it first"
	step "building"
	try build make -C "$here" echo-shell
}

# Prints where the server listens by the configuration that is in force: see put.
listens() {
	"$sshd" -T -f "$own/sshd_config" 2>/dev/null |
		awk 'tolower($1) == "listenaddress" { print $2 }' | sort
}

# Makes the units, with a socket where this sshd takes one; not where an
# administrator has it listen elsewhere, which a socket would overrule.
make_units() {
	takes_socket=
	[ "$(listens | tr '\n' ' ')" != "0.0.0.0:$port [::]:$port " ] ||
		! grep -qE 'LISTEN_FDS|sd_listen_fds' "$sshd" || takes_socket=yes
	no_ipv6=
	[ -e /proc/net/tcp6 ] || no_ipv6=yes
	render port-2022/echo-shell.service >"$work/echo-shell.service"
	render port-2022/echo-shell.socket >"$work/echo-shell.socket"
}

# Takes the file that locks the system's sshd; puts it there, the program and the
# group. Nobody is in the group yet, or each member has been proved before.
put_lock() {
	[ -d "$own" ] || later "rm -rf '$own'"
	try "make $own" mkdir -p "$own"
	for package in $packages; do
		note "$package" package
	done
	put "$here/echo-shell" "$program" 755
	later reload_system_sshd
	cmp -s "$1" "$lock" || note :reload pending
	put "$1" "$lock" 644
	if ! getent group "$group" >/dev/null; then
		later "! getent group $group || groupdel $group && note :group"
		note :group made
		try "make the group $group" groupadd -r "$group"
	fi
}

install_server() {
	need_root
	source=$here/sshd_config.d/port-2022/keep-out.conf
	check_server
	check_machine
	step "keeping demo out of the system's sshd"
	put_lock "$work/keep-out.conf"
	is_ours demo || make_account demo
	prove_lock demo
	prove_others
	apply_lock

	earlier=$changed
	changed=
	if systemd_runs && systemctl -q is-enabled "${unit##*/}" 2>/dev/null; then
		later enable_units
	fi
	! server_runs || later start_server
	# A run that was cut off changed what a server that runs has not read.
	! grep -qx 'pending :restart' "$record" || changed=yes
	later "note :restart"
	note :restart pending
	if [ -n "${HOST_KEY-}" ] || [ ! -e "$own/ssh_host_key" ]; then
		# In this order: where the key is, a run that was cut off left both.
		put "$work/key.pub" "$own/ssh_host_key.pub" 644
		put "$work/key" "$own/ssh_host_key" 600
	fi
	put "$work/echo-shell.conf" "$own/echo-shell.conf" 644
	put "$work/sshd_config" "$own/sshd_config" 644
	[ "$port" = "$(installed_port)" ] || die "$own/sshd_config is kept and has Port $(installed_port): change it there"
	put "$work/banner" "$own/banner" 644
	if systemd_runs; then
		later 'systemctl daemon-reload'
		make_units
		put "$work/echo-shell.service" "$unit" 644
		if [ -n "$takes_socket" ]; then
			there=
			[ ! -e "$socket" ] || there=yes
			put "$work/echo-shell.socket" "$socket" 644
			# After put: the file must still be there when this is undone.
			[ -n "$there" ] || later "end_unit '$socket'"
		elif [ -e "$socket" ]; then
			try "stop ${socket##*/}" end_unit "$socket" # the service starts without it
			take_off "$socket"
			changed=yes
		fi
	fi
	if [ -n "$changed" ] || ! server_runs; then
		step "starting the server on port $port"
		server_runs || later stop_server
		start_server >"$work/output" 2>&1 ||
			die "the server does not come up on port $port: $(server_log || last_line "$work/output")"
		changed=yes
	fi
	note :restart

	password=
	if ! is_complete demo; then
		step "giving demo a password and logging in with it"
		password=$(random_password)
		set_password demo "$password" random
		check_login
	fi
	undo=
	summary
	note '~demo' user
}

install_drop_in() {
	need_root drop-in
	! server_is_installed ||
		die "the server is here, and keeps its users out of the system's sshd: ./setup.sh uninstall first"
	port=2022
	HOST_KEY=
	source=$here/sshd_config.d/echo-shell.conf
	check_machine
	step "putting the drop-in in place"
	put_lock "$work/echo-shell.conf"
	# A Match Group can only be asked about an account that exists.
	[ -n "$(all_users)" ] || make_account "$probe"
	for user in $(all_users); do
		prove_lock "$user"
	done
	prove_others
	take_off_account "$probe"
	apply_lock
	undo=
	step "members of group $group get an echo from the system's sshd, and nothing else"
	echo
	echo "  a user     ./setup.sh add-user NAME"
	echo "  leave      Enter ~ ."
	echo "  take off   ./setup.sh uninstall"
}

# Takes the names of accounts to make, or - for lines of name:password on stdin.
# Passwords are words of this shell only, never a program's arguments.
add_users() {
	need_root add-user
	[ -e "$lock" ] || die "nothing is installed here: ./setup.sh or ./setup.sh drop-in first"
	find_source
	[ $# != 0 ] || die "add-user wants names, or - for lines of name:password on standard input"
	find_sshd
	given=
	if [ "$*" = - ]; then
		given=yes
		set --
		while IFS= read -r line || [ -n "$line" ]; do
			set -- "$@" "$line"
		done
	else
		for name; do
			case $name in
			*:*) die "'$name' is no name: passwords are read from standard input, with -" ;;
			esac
			shift
			set -- "$@" "$name:$(random_password)"
		done
	fi
	check_users "$@"
	for entry; do
		make_account "${entry%%:*}"
		prove_lock "${entry%%:*}"
		! only=$(grep -E '^allow(users|groups) ' "$work/locked") || server_is_installed ||
			step "sshd lets in none but '$only': see that ${entry%%:*} is among them" >&2
	done
	apply_lock
	for entry; do
		if [ -n "$given" ]; then
			set_password "${entry%%:*}" "${entry#*:}"
		else
			set_password "${entry%%:*}" "${entry#*:}" random
		fi
	done
	undo=
	for entry; do
		if [ -n "$given" ]; then echo "${entry%%:*}"; else printf '%s\n' "$entry"; fi
		note "~${entry%%:*}" user
	done
}

# Takes words of name:password; dies of the first that the system would refuse, or
# that is there already.
check_users() {
	number=0
	names=' '
	for entry; do
		number=$((number + 1))
		name=${entry%%:*}
		password=${entry#*:}
		[ "$name" != "$entry" ] || die "line $number is not name:password"
		case $name in
		'' | [!a-z_]* | *[!a-z0-9_-]* | "$probe") die "'$name' is no name for an account: take a to z, 0 to 9, _ and -" ;;
		esac
		[ ${#name} -le 32 ] || die "'$name' is no name for an account: it is longer than 32 characters"
		case $names in
		*" $name "*) die "$name is there twice" ;;
		esac
		names="$names$name "
		if getent passwd "$name" >/dev/null && { ! is_ours "$name" || is_complete "$name"; }; then
			die "the account $name exists already"
		fi
		case $password in
		'' | *[[:cntrl:]]*) die "the password of $name is empty or has a control character" ;;
		esac
		[ ${#password} -le 511 ] || die "the password of $name is longer than 511 bytes"
	done
}

remove_users() {
	need_root remove-user
	[ $# != 0 ] || die "remove-user wants names"
	for name; do
		is_ours "$name" || die "$name is not an account that setup.sh made; nothing is removed"
	done
	for name; do
		take_off_account "$name"
	done
	undo=
}

# Takes an account off, and out of the record.
take_off_account() {
	! is_complete "$1" || later "note '~$1' user"
	remove_account "$1" >"$work/output" 2>&1 ||
		die "cannot remove the account $1: $(last_line "$work/output")"
	note "~$1"
}

# Prints a line of the status; with a third word, one that is not well.
line() {
	printf '  %-10s %s\n' "$1" "$2"
	well=${3-$well}
}

# Prints what is here and who is on; fails where something is not well.
status() {
	need_root status
	[ -e "$record" ] || die "nothing of echo-shell is here: ./setup.sh or ./setup.sh drop-in installs it"
	find_sshd
	find_source
	well=yes
	[ -x "$program" ] || line program "$program is missing: ./setup.sh puts it back" no
	[ -e "$lock" ] || line lock "$lock is missing: ./setup.sh puts it back" no
	! grep -qx 'pending :reload' "$record" ||
		line lock "the system's sshd has not read it yet: run again what was cut off" no
	if ! server_is_installed; then
		line server "none: drop-in, on the system's sshd"
	elif server_runs && port_listens "$(installed_port)"; then
		if systemd_runs; then
			since=$(systemctl show -p ActiveEnterTimestamp --value echo-shell.service)
		else
			since=$(date -r "$pidfile")
		fi
		line server "up on port $(installed_port) since $since"
	else
		line server "down: ./setup.sh starts it" no
	fi
	! server_is_installed || line "host key" "$(ssh-keygen -lf "$own/ssh_host_key.pub" | cut -d ' ' -f 2)"
	for user in $(all_users); do
		if (prove_lock "$user") 2>/dev/null; then
			line user "$user, locked in the system's sshd"
		else
			line user "$user, NOT locked in the system's sshd: ./setup.sh remove-user $user" no
		fi
	done
	for process in $(processes echo-shell); do
		tr '\0' '\n' 2>/dev/null <"/proc/$process/environ" |
			awk -F '[= ]' '$1 == "USER" { user = $2 } $1 == "SSH_CONNECTION" { address = $2 }
				END { if (address != "") printf "  session    %s from %s\n", user, address }'
	done
	[ "$well" = yes ] || die "not all is well"
}

# Prints the last line of the server's log, but for those of a logout after a failure;
# fails where there is none.
server_log() {
	if systemd_runs; then
		journalctl -q -n 3 -o cat -u echo-shell.service
	else
		tail -n 3 "$logfile"
	fi 2>/dev/null | grep -v logout | tail -n 1 | grep .
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
	keep_sshd_off
	if [ ! -d "$own" ]; then
		step "nothing to do: nothing that setup.sh put on is here"
		return
	fi
	: >>"$record" || die "cannot write $record"
	gid=$(getent group "$group" | cut -d : -f 3)
	# Without the lock, an account that somebody else put into the group would be
	# open for more than an echo.
	others=$({
		getent passwd | awk -F : -v "gid=$gid" '$4 == gid { print $1 }'
		getent group "$group" | cut -d : -f 4 | tr , '\n'
	} | while read -r user; do
		[ -z "$user" ] || is_ours "$user" || printf ' %s' "$user"
	done)
	[ -z "$others" ] || die "group $group has members that setup.sh did not make:$others;" \
		"take them out of it first (usermod -g)"
	sshd=$(command -v sshd || echo :)
	step "ending the server and its sessions"
	! server_runs || later start_server
	stop_server >"$work/output" 2>&1 || die "cannot stop the server: $(last_line "$work/output")"
	for user in $(all_users); do
		take_off_account "$user"
	done
	if [ -n "$gid" ] && grep -qx 'made :group' "$record"; then
		later "getent group $group || groupadd -r -g $gid $group"
		try "remove the group $group" groupdel "$group"
	fi
	step "taking off the files"
	later reload_system_sshd
	take_off "$lock"
	reload_system_sshd
	! systemd_runs || later "systemctl daemon-reload"
	for file in "$program" "$unit" "$socket" "$own/sshd_config" "$own/echo-shell.conf" \
		"$own/banner" "$own/ssh_host_key" "$own/ssh_host_key.pub"; do
		take_off "$file"
	done
	! systemd_runs || systemctl daemon-reload
	undo=
	packages=$(sed -n 's/^package //p' "$record" | tr '\n' ' ')
	[ -z "$packages" ] || step "these packages were installed with it and stay: $packages"
	rm -f "$logfile" "$record" "$record.new"
	rmdir "$own" 2>/dev/null || step "kept $own: it holds files that setup.sh did not make"
}

run_tests() {
	install_packages cc:gcc,libc6-dev make:make sshd:openssh-server ssh:openssh-client \
		shellcheck:shellcheck bats:bats
	cd "$here"
	try build make echo-shell drivers
	for file in tests/*.bats; do
		{ bats --tap "$file" >"$work/${file#*/}.tap" 2>&1 || :; cat "$work/${file#*/}.tap"; } &
		[ -z "${TEST_HERE-}" ] || wait # there is one machine for all
	done
	wait
	awk '/^ok .* # skip/ { skipped++; next } /^ok / { passed++ } /^not ok / { failed++ }
		{ planned += sub(/^1\.\./, "") ? $1 : 0 }
		END {
			printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
			exit failed || !passed || passed + skipped != planned || ENVIRON["CI"] == "true" && skipped
		}' "$work"/*.tap && return
	trap - EXIT # the count is the last line
	rm -rf "$work"
	exit 1
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
	trap 'failure=interrupted; exit 131' QUIT
	trap 'failure="cannot write to standard output"; exit 141' PIPE
	trap 'failure=interrupted; exit 143' TERM
	work=$(TMPDIR=/tmp mktemp -d) # a path without blanks or quotes
	packages=
	command=${1-}
	[ $# = 0 ] || shift
	case $command${*:+ with} in
	'') install_server ;;
	drop-in) install_drop_in ;;
	add-user | 'add-user with') add_users "$@" ;;
	remove-user | 'remove-user with') remove_users "$@" ;;
	status) status ;;
	uninstall) uninstall ;;
	test) run_tests ;;
	-h | --help | help) usage ;;
	*) die "no such command: $command${*:+ $*}; see ./setup.sh --help" ;;
	esac
}

main "$@"
