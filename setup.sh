#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Install echo-shell on this machine, or remove it. As root:
#
#   ./setup.sh                      the echo server on port 2022, with user demo
#   ./setup.sh drop-in              no server: the echo on the sshd that is here
#   ./setup.sh run                  the server in the foreground, for a container
#   ./setup.sh add-user NAME...     more demo users; prints name:password for each
#   ./setup.sh add-user -           the same from lines of name:password on stdin
#   ./setup.sh remove-user NAME...  remove demo users and end their sessions
#   ./setup.sh status               what is here and who is on; 0 if all is well
#   ./setup.sh uninstall            remove everything again
#   ./setup.sh test                 run the tests; TEST_HERE=1 lets them use this
#                                   machine itself where namespaces are refused
#
#   In the environment: PORT=n, HOST_KEY=file, PASSWORD=word (demo's)
#
# Each command is a sequence of steps in a safe order. A step that was taken before does
# nothing, so the same command completes what was cut off, and uninstall works from
# any state. Nothing is recorded: what has our names is ours.

set -euf
umask 022
LC_ALL=C
export LC_ALL
# Root by plain su has no sbin. An empty part would be the current folder.
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(dirname "$(readlink -f "$0")")
me="${SUDO_USER:+sudo }./setup.sh"
group=echo-shell
comment='echo-shell demo user' # of each account that we make
probe=echo-shell-probe         # the account of the trial login
own=/etc/ssh/echo-shell        # exists as long as anything of ours does
in_force=$own/in-force         # exists while every sshd has read our files
admin=$own-local.conf          # the administrator's; never written
program=/usr/local/bin/echo-shell
lock=/etc/ssh/sshd_config.d/echo-shell.conf
unit=/etc/systemd/system/echo-shell.service
old_socket=/etc/systemd/system/echo-shell.socket # of an earlier version, as are
old_record=$own/installed                        # this and ssh_host_key.pub
files="$own/sshd_config $own/echo-shell.conf $own/banner $own/ssh_host_key
	$program $lock $unit $old_socket $old_record $own/ssh_host_key.pub"
client=host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22 # the connection of which sshd -T is asked
logfile=/var/log/echo-shell.log      # only without systemd and syslog
no_start=/etc/ssh/sshd_not_to_be_run # Debian's own switch for its ssh service

work=         # a private folder for this run
failure=      # the line to end with
back=         # the function that goes back, once something was changed
going_back=   # set while it runs
left=         # what it could not put back
changed=      # set if this run changed files
made=         # the accounts that this run made
ran=          # the pid of our server, if it ran before
was_here=     # set if anything of ours was here before

# --- how a run ends ---------------------------------------------------------

# Print text. Others may have written parts of it: print "?" for control characters.
say() {
	printf '%s\n' "$*" | tr -c '[:print:]\n' '?' 2>/dev/null || die "cannot write to standard output"
}

step() { say "echo-shell: $*"; }

# End the run with one line. finish goes back first.
die() {
	failure=$*
	exit 1
}

# Print the last line of a file of messages that says why, without sshd's CR.
last_line() { grep -v ': terminating, ' "$1" | tail -n 1 | tr -d '\r'; }

# Run a command quietly. If it fails, end the run with what it was for, or, while going
# back, note that and go on.
try() {
	what=$1
	shift
	"$@" >"$work/output" 2>&1 && return
	why=$(last_line "$work/output")
	what="cannot $what${why:+: $why}"
	[ -n "$going_back" ] || die "$what"
	left="$left, but $what"
}

# Go back if the run failed, and clean up. This is the EXIT trap.
finish() {
	trap - EXIT
	trap '' HUP INT QUIT PIPE TERM # a second Ctrl-C must not stop this
	if [ "$1" != 0 ]; then
		set +e
		failure=${failure:-stopped with status $1}
		if [ -n "$back" ]; then
			going_back=yes
			"$back" >/dev/null 2>&1 </dev/null
			failure="$failure; all is as it was before$left"
		fi
		printf '%s\n' "setup.sh: $failure" | tr -c '[:print:]\n' '?' >&2
	fi
	rm -rf "$work"
	exit "$1"
}

# Wait until no other setup.sh runs, if flock is installed. Only root may open the file,
# or a user could hold the lock.
take_turn() {
	have flock || return 0
	(umask 077 && : >>/run/echo-shell.lock)
	exec 9</run/echo-shell.lock
	wait_for flock -n 9 || die "another setup.sh is at work: wait until it has ended"
}

# --- what this machine has --------------------------------------------------

have() { command -v "$1" >/dev/null; }

systemd_runs() { [ -d /run/systemd/system ]; }

# Run a command every tenth of a second until it succeeds. Fail after 10 seconds.
wait_for() {
	tries=100
	until "$@"; do
		[ $((tries -= 1)) != 0 ] || return
		sleep 0.1
	done
}

# Print "PID NAME" for each process whose real, effective and saved user id is the one
# given, but not for those in containers.
processes() {
	# A user can have more processes than cat can have arguments.
	(set +f && printf '%s\n' /proc/[0-9]*/status) | xargs cat 2>/dev/null | awk -v "uid=$1" '
		/^Name:/ { name = $2 }
		/^Pid:/ { pid = $2 }
		/^Uid:/ { ours = $2 == uid && $3 == uid && $4 == uid }
		/^NSpid:/ && NF > 2 { ours = 0 }
		/^Threads:/ && ours { print pid, name }'
}

# Return whether any process but the one with this pid listens on a TCP port, be it on one
# address.
is_taken() {
	# shellcheck disable=SC2012 # not for the names, for what they point to
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
		awk -v "port=:$(printf %04X "$1")\$" '$4 == "0A" && $2 ~ port { print "socket:[" $10 "]" }' |
		grep -vqxF "$(ls -l "/proc/${2:-none}/fd" 2>/dev/null | sed 's/.* //')"
}

# Print "PID FILE" for each sshd of root's that listens, by whatever name. FILE is the
# configuration that its title names, - for the default one, ? if that cannot be told: it
# is not $sshd, or its title is cut off.
listeners() {
	titles=$(processes 0 | sed 's|^\([0-9]*\) .*|/proc/\1/cmdline|' |
		xargs grep -lsaE '^sshd[^/]*: /|^[^/]*: /.*\[listener\]' /dev/null) || :
	for file in $titles; do
		pid=${file%/*}
		{ parent=$(sed -n 's/^PPid:.//p' "$pid/status") && exe=$(readlink "$pid/exe") &&
			title=$(tr '\0' ' ' <"$file"); } || continue
		case $titles in *"/proc/$parent/"*) continue ;; esac # about to become a session
		# shellcheck disable=SC2086 # words
		case ${exe% (deleted)}:$title in
		*'  '*'[listener]'*) echo "${pid#/proc/} ?" ;; # an empty argument, which words would not show
		"$(readlink -f "$sshd"):"*'[listener]'*) echo "${pid#/proc/} $(config_of ${title%\[listener\]*})" ;;
		*) echo "${pid#/proc/} ?" ;;
		esac
	done 2>/dev/null
}

# Print the configuration file that the title of an sshd names.
config_of() {
	shift 2 # sshd: /usr/sbin/sshd
	file=-
	while getopts :C:E:b:c:f:g:h:k:o:p:u:46DGQRTdeiqrtV option; do
		[ "$option" != f ] || file=$OPTARG
	done
	shift $((OPTIND - 1))
	for word; do # what follows an option with a blank, such as -o "Port 22"
		case $word in -*f*) file='?' ;; esac
	done
	case $#:$file in *:- | 0:/*) ;; *) file='?' ;; esac
	echo "$file"
}

other_listeners() { listeners | grep -v " $own/sshd_config\$" || :; }

# Print the pid of our own server. Fail if it does not run.
server_pid() { listeners | sed -n "s|^\([0-9]*\) $own/sshd_config\$|\1|p" | grep .; }

# --- packages ---------------------------------------------------------------

# Install the packages of program:packages pairs whose programs are missing. If sshd is
# among them, it is left disabled and not running.
install_packages() {
	missing=
	packages=
	for pair; do
		have "${pair%%:*}" || { missing="$missing ${pair%%:*}" packages="$packages ${pair#*:}"; }
	done
	[ -n "$missing" ] || return 0
	{ have apt-get && [ "$(id -u)" = 0 ]; } ||
		die "missing here:$missing; install them, or run this as root where apt-get is"
	if ! have sshd && [ ! -e "$no_start" ]; then
		{ mkdir -p /etc/ssh && echo "$comment" >"$no_start"; } || die "cannot write $no_start"
		back=keep_sshd_off
	fi
	step "installing$packages"
	export DEBIAN_FRONTEND=noninteractive
	# A repository that does not answer need not be the one that has them.
	apt-get -qq update 9>&- || step "not all package lists are new"
	# shellcheck disable=SC2086 # a list of words
	apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install $packages 9>&- ||
		die "cannot install$packages: apt-get says above why"
	keep_sshd_off
	back=
}

# Disable the distribution's sshd if this run, or one that was cut off, installed it.
keep_sshd_off() {
	grep -qsxF "$comment" "$no_start" || return 0
	if have sshd && have systemctl; then
		try 'disable the ssh service' systemctl disable ssh.service ssh.socket
	elif have sshd; then
		try 'disable the ssh service' update-rc.d ssh disable
	fi
	try "remove $no_start" rm -f "$no_start"
}

# --- our files --------------------------------------------------------------

# Write the files as they are to be on this machine to a tree in $work: with its port
# and its sshd, and without "#?" before each option that this sshd knows.
render_all() {
	new=$work/new
	mkdir -p "$new$own" "$new${lock%/*}" "$new${unit%/*}" "$new${program%/*}"
	sed -n 's/.*#? //p' "$here/sshd_config.d/echo-shell.conf" "$here/sshd_config.d/port-2022/sshd_config" >"$work/options"
	unknown=$("$sshd" -t -f "$work/options" 2>&1 | tr -d '\r' | sed -n 's|.*Bad configuration option: \(.*\)|/#? \1 /b|p')
	[ ! -e "$here/echo-shell" ] || install -m 755 "$here/echo-shell" "$new$program"
	if [ "$way" = server ]; then
		render port-2022/keep-out.conf "$lock"
		render port-2022/sshd_config "$own/sshd_config"
		render port-2022/banner "$own/banner"
		render echo-shell.conf "$own/echo-shell.conf" /AcceptEnv/d
		[ ! -e "$work/key" ] || cp -p "$work/key" "$new$own/ssh_host_key"
		! systemd_runs || render port-2022/echo-shell.service "$unit"
	else
		# The secret stays what it is, or every run would change the lock.
		secret=$(sed -n 's/^.AcceptEnv \(ECHO_SHELL_[a-z0-9]\{20\}\)$/\1/p' "$lock" 2>/dev/null) || :
		render echo-shell.conf "$lock" "s|ECHO_SHELL_SECRET|${secret:-ECHO_SHELL_$(random_password)}|"
		chmod 600 "$new$lock"
	fi
	options "$new$lock" | grep -v '^match ' >"$work/lock"
}

render() {
	sed -e "$unknown" -e "s/#? //; s|^Port 2022\$|Port $port|; s|/usr/sbin/sshd|$sshd|; ${3-}" \
		"$here/sshd_config.d/$1" >"$new$2"
}

need_etc() { [ -w /etc ] || die "cannot write to /etc: run ./setup.sh when the image is made"; }

# Return whether a file equals its copy in a tree, or is in neither.
same() { { [ ! -e "$1$2" ] && [ ! -e "$2" ]; } || cmp -s "$1$2" "$2"; }

# Put a file in place as it is in a tree, whole or not at all; remove it if the tree has
# none. sshd must read all of them anew but the program.
put() {
	! same "$1" "$2" || return 0
	[ -n "$going_back" ] || need_etc
	changed=yes
	[ "$2" = "$program" ] || [ ! -e "$in_force" ] || try "remove $in_force" rm "$in_force"
	if [ -e "$1$2" ]; then
		try "write $2" cp -p "$1$2" "$2.new"
		try "write $2" mv -f "$2.new" "$2"
	else
		try "remove $2" rm "$2"
	fi
}

# Mark that the servers have read all files, and which administrator's file.
is_in_force() { [ "$(cat "$in_force" 2>/dev/null)" = "$(cksum "$admin" 2>&1)" ]; }

mark_in_force() { { cksum "$admin" 2>&1 || :; } >"$in_force" || die "cannot write $in_force"; }

# Put all files in place. From here on, a run that fails goes back.
put_all() {
	[ ! -d "$own" ] || was_here=yes
	for file in $files $in_force; do
		[ ! -e "$file" ] || { mkdir -p "$work/old${file%/*}" && cp -p "$file" "$work/old$file"; } ||
			die "cannot copy $file to $work"
	done
	back=go_back
	try "make $own" mkdir -p "$own"
	bring_over
	for file in $files; do
		same "$new" "$file" || [ -z "$was_here" ] || step "updating $file"
		put "$new" "$file"
	done
}

# Remove the accounts that this run made. If it changed files, put the old ones back and
# have them read. Uninstalling is the same, with all accounts and no old files.
go_back() {
	for user in $made; do
		remove_account "$user"
	done
	for user in $made; do
		! is_ours "$user" || return 0 # it needs the lock
	done
	[ -n "$changed" ] || [ -z "$was_here" ] || return 0
	[ -n "$ran" ] || try "stop the server" stop_server
	[ -n "$was_here" ] || ! getent group "$group" >/dev/null || try "remove the group $group" groupdel "$group"
	for file in $files; do
		put "$work/old" "$file"
		[ ! -e "$file.new" ] || try "remove $file.new" rm "$file.new"
	done
	reload_system_sshd
	! systemd_runs || try "reload systemd" systemctl daemon-reload
	[ -z "$ran" ] || try "start the server" start_server
	# The server that was started again has read the administrator's file as it is now.
	put "$work/old" "$in_force"
	is_in_force || rm -f "$in_force"
	[ -z "$was_here" ] || return 0
	try "remove $logfile" rm -f "$logfile"
	rmdir "$own" 2>/dev/null || step "kept $own: it holds files that setup.sh did not write"
}

# Bring over what an earlier version left: configuration that was changed in place, and
# a systemd socket. put removes the files that only it had.
bring_over() {
	[ -e "$old_record" ] || return 0
	for file in "$own/sshd_config" "$own/echo-shell.conf" "$own/banner"; do
		grep -qxF "$(cksum "$file" 2>&1)" "$old_record" || [ ! -e "$file" ] && continue
		try "keep $file" cp -p "$file" "$own-${file##*/}.saved"
		step "$file was changed here: it is kept as $own-${file##*/}.saved; what it has of yours belongs in $admin"
	done
	[ ! -e "$old_socket" ] || try "stop ${old_socket##*/}" systemctl -q disable --now "${old_socket##*/}"
}

# --- the system's sshd ------------------------------------------------------

# Run sshd with a configuration file, - for the default one, and options. The file is
# somebody else's (it may be a FIFO): give up after ten seconds.
sshd_with() {
	config=$1
	shift
	[ "$config" = - ] || set -- -f "$config" "$@"
	timeout -s KILL 10 "$sshd" "$@"
}

# Find sshd. Set $ran to the pid of our server, if it runs, and $configs to the files in
# which the lock must hold: that of each other listening sshd, and last the default one.
find_sshd() {
	sshd=$(command -v sshd) || die "sshd is missing: install openssh-server"
	# sshd -t and -T want the empty directory that its service makes.
	empty=$("$sshd" -t 2>&1 | tr -d '\r' | sed -n 's/^Missing privilege separation directory: //p')
	[ -z "$empty" ] || mkdir -p "$empty" || die "cannot make $empty, which sshd wants"
	listeners >"$work/listeners"
	ran=$(sed -n "s|^\([0-9]*\) $own/sshd_config\$|\1|p" "$work/listeners")
	configs=$(awk -v "own=$own/sshd_config" '$2 != own && !done[$2]++ { print $2 } END { print "-" }' "$work/listeners")
	unclear=$(sed -n 's/ ?$//p' "$work/listeners" | paste -s -d ' ' -)
	[ -z "$unclear" ] || die "which file the sshd with pid $unclear reads cannot be told: start it as $sshd -f /FILE," \
		"from an environment that is not empty"
}

# Print what each configuration says for root, an ordinary user and a stranger.
system_view() {
	ordinary=$(getent passwd | awk -F : '$3 >= 1000 && $3 <= 60000 { print $1; exit }')
	for config in $configs; do
		for user in root $ordinary a-stranger; do
			sshd_with "$config" -T -C "user=$user,$client" || return
		done
	done
}

# Return whether the system's sshd listens, or a systemd socket does for it.
system_sshd_listens() {
	[ -n "$(other_listeners)" ] ||
		is_taken "$("$sshd" -T -C "user=root,$client" 2>/dev/null | awk 'tolower($1) == "port" { print $2; exit }')"
}

# Have each sshd but ours read its configuration again, unless it has an error by now.
# Sessions stay open. This is "systemctl reload ssh", also without systemd.
reload_system_sshd() {
	# With ssh.socket, a HUP ends sshd: it cannot bind the socket again. Stop it, and the
	# next connection starts it. Sessions go on.
	! systemd_runs || ! systemctl -q is-active ssh.socket || try "reload ssh" systemctl stop ssh.service
	other_listeners | while read -r pid config; do
		if sshd_with "$config" -t 2>/dev/null; then
			kill -HUP "$pid" || :
		else
			step "the sshd with pid $pid is not reloaded: its configuration has an error (sshd -t) or cannot be told"
		fi
	done
}

# Print the options of one of our files, or of "sshd -T", with keywords in lower case, as
# sshd printed them before 10.6.
options() {
	awk '/^\t?[A-Za-z]/ { keyword = tolower($1); sub(/^\t?[^ ]+/, ""); print keyword $0 }' "$1"
}

# Print each way in which the lock does not apply to an account, or to some clients of it,
# in the sshd that was asked last.
holes() {
	# Only DenyGroups may have other values beside ours.
	options "$work/shown" | awk 'NR == FNR { lock[$0]; keyword[$1]; next }
		$0 in lock { delete lock[$0]; next }
		$1 in keyword && $1 != "denygroups" { lock[$0] }
		END { for (line in lock) print line }' "$work/lock" -
	# sshd was asked about one address. For all others: the file itself has the Include,
	# and before it no Match, however it is written. One that cannot be read has neither.
	tr -d '\r' <"$file" | awk '
		tolower($1) == "include" && $2 ~ "^(/etc/ssh/)?sshd_config[.]d/[*][.]conf$" { found = 1; exit }
		tolower($0) ~ /^[^a-z#]*match/ { print; found = 1; exit }
		END { if (!found) print "no Include" }'
	# Another file's Match on the client may come before, and its values win, but for
	# DenyGroups, which adds up. sshd cuts a long line, and then "user" is missing.
	[ "$way" = server ] || sed -n "s/.*checking match for '/Match /p" "$work/trace" | awk -v "lock=Match Group $group" '
		{ whole = sub(/\047 user [^\047]*$/, "") }
		$0 == lock { printf "%s", before; before = "" }
		!whole || tolower($0) ~ /[ \t\r"](local)?(address|host|port|rdomain|version)[ \t"=]/ { before = before $0 " in an earlier file\n" }'
}

# End the run unless each sshd applies every line of the lock to an account. If not, the
# administrator will change a file: the next run has every sshd read its configuration.
prove_lock() {
	for config in $configs; do
		sshd_with "$config" -T -ddd -C "user=$1,$client" >"$work/shown" 2>"$work/trace" ||
			die "sshd refuses its configuration ${config#-}: $(last_line "$work/trace")"
		file=$(sed -n '/.*load_server_config: filename /{s///;p;q;}' "$work/trace" | tr -d '\r')
		hole=$(holes | head -n 1)
		[ -n "$hole" ] || continue
		rm -f "$in_force" "$work/old$in_force"
		die "$file does not apply $lock to $1 ($hole): put the line 'Include /etc/ssh/sshd_config.d/*.conf'" \
			"at its top, before every Match; a file there that says otherwise must come after ${lock##*/}"
	done
}

# Prove that the lock holds for each account and changes nothing for anybody else. Then
# reload the system's sshd.
prove_and_reload() {
	for user in $(our_users); do
		prove_lock "$user"
	done
	if [ -e "$work/before" ]; then
		system_view >"$work/after" 2>&1 || :
		cmp -s "$work/before" "$work/after" || die "$lock would change the system's sshd for other users"
	fi
	[ ! -e "$in_force" ] || return 0
	try "write to the disk" sync # the lock must outlive a power cut if a password does
	reload_system_sshd
}

# Print the AllowUsers or AllowGroups line by which the sshd that serves an account refuses
# it, if there is one.
kept_out() {
	config=-
	[ "$way" = drop-in ] || config=$own/sshd_config
	sshd_with "$config" -T -C "user=$1,$client" >"$work/shown" 2>/dev/null || :
	options "$work/shown" >"$work/held"
	for name in "AllowUsers $1" "AllowGroups $group"; do
		patterns=$(awk -v "keyword=${name% *}" '$1 == tolower(keyword) { print $2 }' "$work/held")
		for pattern in $patterns; do
			# shellcheck disable=SC2254 # a pattern
			case ${name#* } in ${pattern%@*}) continue 2 ;; esac
		done
		# shellcheck disable=SC2086 # on one line
		[ -z "$patterns" ] || { echo "${name% *}" $patterns; return; }
	done
}

# --- accounts ---------------------------------------------------------------

our_users() {
	getent passwd "$@" | awk -F : -v "comment=$comment" -v "shell=$program" \
		'$5 == comment && $7 == shell { print $1 }'
}

is_ours() { [ -n "$(our_users "$1")" ]; }

# Return whether an account has a password. A new account has one "!" or two instead.
has_password() {
	hash=$(getent shadow "$1" | cut -d : -f 2)
	[ ${#hash} -gt 2 ]
}

# Make an account that cannot log in yet. Its home is /, since sshd tells the session of
# one that does not exist. Its shell is not in /etc/shells, so that FTP and chsh refuse it.
make_account() {
	! is_ours "$1" || return 0
	made="$made $1"
	getent group "$group" >/dev/null || try "make the group $group" groupadd -r "$group"
	try "make the account $1" useradd -r -M -d / -g "$group" -s "$program" -c "$comment" "$1"
}

# Print 20 of 31 letters and digits, none that looks like another: 99 bits.
random_password() {
	dd if=/dev/urandom bs=1024 count=1 2>/dev/null | tr -dc 'abcdefghjkmnpqrstuvwxyz23456789' | cut -c 1-20
}

# Set passwords, given as name:password, all at once. A random one needs no slow hash:
# each login would wait for it. printf is a builtin: nothing shows in the process list.
set_passwords() {
	need_etc
	quick=
	[ "$1" != random ] || ! chpasswd --help 2>&1 | grep -q sha-rounds || quick='-c SHA512 -s 1000'
	shift
	# shellcheck disable=SC2086 # words or none
	printf '%s\n' "$@" | chpasswd $quick >"$work/output" 2>&1 ||
		die "cannot set the password of ${1%%:*}: $(last_line "$work/output")"
}

# Remove an account of ours. First lock it, or it could log in while its sessions end.
remove_account() {
	is_ours "$1" || return 0
	try "lock the account $1" usermod -p '!' "$1"
	try "end the sessions of $1" wait_for no_processes "$(id -u "$1")"
	try "remove the account $1" userdel "$1"
}

# Kill every process of a user. Succeed if there was none.
no_processes() {
	pids=$(processes "$1" | cut -d ' ' -f 1)
	# shellcheck disable=SC2086 # words
	[ -z "$pids" ] || { kill -KILL $pids; false; }
}

# End the run if our group has members that we did not make: the lock would shut them out
# of the system's sshd.
refuse_strangers() {
	entry=$(getent group "$group") || return 0
	gid=${entry%:*}
	strangers=$({ echo "${entry##*:}" | tr , '\n' && getent passwd | awk -F : -v "gid=${gid##*:}" '$4 == gid { print $1 }'; } |
		grep -vxF -e '' -e "$(our_users)" | sort -u | paste -s -d ' ' -)
	[ -z "$strangers" ] || die "group $group has members that setup.sh did not make: $strangers;" \
		"take them out of it first (usermod -g, gpasswd -d)"
}

# --- the dedicated server ---------------------------------------------------

# Become the server's sshd, in the environment that the unit gives it.
become_server() {
	unset PASSWORD
	# shellcheck disable=SC2046 # words
	exec env $(sed -n 's/^Environment=//p' "$here/sshd_config.d/port-2022/echo-shell.service") \
		"$sshd" -f "$own/sshd_config" "$@" 9>&-
}

start_server() {
	if systemd_runs; then
		systemctl daemon-reload && systemctl -q enable "${unit##*/}" &&
			systemctl restart "${unit##*/}" || return
	else
		stop_server || return
		(
			trap - HUP INT QUIT PIPE TERM # finish ignores them; the server shall not
			if [ -S /dev/log ]; then become_server; else become_server -E "$logfile"; fi
		) || return
	fi
	wait_for server_pid
}

# End the listener, and its start at boot. Open sessions go on.
stop_server() {
	if [ -e "$unit" ]; then
		[ -n "$was_here" ] || systemctl -q disable "${unit##*/}" || return
		! systemd_runs || systemctl stop "${unit##*/}" || return
	fi
	pid=$(server_pid) || return 0
	kill "$pid" && wait_for [ ! -e "/proc/$pid" ]
}

# Print the last line of a file of messages and of the server's log, but not of a logout.
reason() {
	log=$(if systemd_runs; then journalctl -q -n 3 -o cat -u "${unit##*/}"; else tail -n 3 "$logfile"; fi 2>/dev/null |
		grep -v logout | tail -n 1 | tr -d '\r')
	why=$(last_line "$1")
	echo "$why${why:+${log:+; }}$log"
}

# Log in as the probe, without and with a terminal. End the run unless both get their
# echo. The source address is a random one: from 127.0.0.1 another user of this machine
# could fill the places that sshd has for one address.
trial_login() {
	rule=$(kept_out "$probe")
	if [ -n "$rule" ]; then
		step "no trial login: '$rule' keeps it out"
		remove_account "$probe"
		return
	fi
	echo "$group $(ssh-keygen -y -f "$own/ssh_host_key")" >"$work/known_hosts"
	from=
	[ "$address" != 127.0.0.1 ] ||
		from=$(od -A n -N 3 -t u1 /dev/urandom | awk '{ print "-b 127." $1 "." $2 "." 1 + $3 % 254 }')
	trial=$(random_password)
	set_passwords random "$probe:$trial"
	for tty in -T -tt; do
		# shellcheck disable=SC2086 # an option or none
		type_setup | ECHO_SHELL_PASSWORD=$trial SSH_ASKPASS=$here/setup.sh SSH_ASKPASS_REQUIRE=force \
			timeout --foreground 60 ssh "$tty" -F none -p "$port" $from -o LogLevel=ERROR \
			-o "UserKnownHostsFile=$work/known_hosts" -o HostKeyAlias="$group" -o StrictHostKeyChecking=yes \
			-o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 \
			-o ConnectTimeout=10 -o ServerAliveInterval=5 \
			"$probe@$address" >"$work/answer$tty" 2>"$work/errors" 9>&- || :
		answered || die "the server is up but a login (ssh $tty) gets no echo: $(reason "$work/errors")"
	done
	remove_account "$probe"
}

answered() { grep -qs "echo: 'setup" "$work/answer$tty"; }

# Print a word until it is answered; then the keys with which ssh leaves a terminal.
type_setup() {
	exec 9>&- # or it keeps the turn if this run is killed
	until answered; do
		printf setup && sleep 0.1 || return
	done
	printf '\r~.'
}

# --- the commands -----------------------------------------------------------

# Set $way and $port to what is installed.
find_way() {
	way=server
	again=$me
	[ -e "$own/sshd_config" ] || { way=drop-in && again="$me drop-in"; }
	port=$(sed -n '/^Port /{s///p;q;}' "$own/sshd_config" 2>/dev/null) || :
}

# End the run if echo-shell was installed by hand, or something has our names.
refuse_by_hand() {
	hand=$({ ls -d "$program" "$lock" "$unit" || :; getent group "$group" | sed 's/:.*//; s/^/the group /'; } 2>/dev/null |
		paste -s -d , - | sed 's/,/, /g')
	[ -d "$own" ] || [ -z "$hand" ] || die "echo-shell was installed here by hand; to remove that, give its users" \
		"another group and shell, remove $hand, and reload ssh"
}

# End the run for what would stop the server, but not the drop-in.
check_server() {
	! grep -qs ForceCommand "$lock" ||
		die "the drop-in is here, and the server keeps its users out of that sshd: $me uninstall first"
	check_users "demo:${PASSWORD-x}"
	find_way
	way=server
	port=${PORT:-${port:-2022}}
	case $port in 0* | *[!0-9]* | 6[6-9]??? | [7-9]???? | ??????*) die "PORT=$port is not a port" ;; esac
	[ "$command" != run ] || ! systemd_runs || die "systemd runs here: $me makes a service of the server"
}

# Write the host key to $work: HOST_KEY, or the one that is there, or a new one.
find_key() {
	key=${HOST_KEY:-$own/ssh_host_key}
	if [ -z "${HOST_KEY-}" ] && [ ! -e "$key" ]; then
		ssh-keygen -q -t ed25519 -N '' -C "$group" -f "$work/key"
		return
	fi
	[ -f "$key" ] || die "HOST_KEY=$key: there is no such file"
	(umask 077 && cat <"$key" >"$work/key")
	ssh-keygen -y -P '' -f "$work/key" >"$work/output" 2>&1 ||
		die "HOST_KEY=$key is not a private key without a passphrase"
}

# Print the addresses and ports at which the server listens, by what "sshd -T" showed.
addresses() {
	awk 'tolower($1) == "listenaddress" { print $2 }' "$work/shown" | sort -r
}

# End the run unless sshd takes the server's and the administrator's configuration and the
# ports are free or ours. Set $address, which ssh knows as $host, and $port to where the
# server is reached from here.
check_config() {
	sed "s|$own/|$new$own/|" "$new$own/sshd_config" >"$work/config"
	"$sshd" -T -f "$work/config" >"$work/shown" 2>"$work/output" ||
		die "this sshd refuses the server's configuration or $admin: $(last_line "$work/output")"
	for address in $(addresses); do
		port=${address##*:}
		[ -e "$old_socket" ] || ! is_taken "$port" "$ran" || refuse_port
	done
	address=$(echo "${address%:*}" | sed 's/[][]//g; s/^0\.0\.0\.0$/127.0.0.1/; s/^::$/::1/')
	host=$address
	# A small machine may have no /etc/hosts.
	case $host in 127.0.0.1 | ::1) ! getent hosts localhost >/dev/null || host=localhost ;; esac
}

refuse_port() { die "port $port is taken: choose another one, ${SUDO_USER:+sudo }PORT=n ./setup.sh"; }

# Do what both ways of installing start with: check, get what is missing, build, and put
# our files in place.
prepare() {
	refuse_strangers
	keep_sshd_off
	set -- sshd:openssh-server ssh:openssh-client useradd:passwd
	[ -e "$here/echo-shell" ] || set -- "$@" 'cc:gcc libc6-dev' make:make
	install_packages "$@"
	! have make || MAKEFLAGS='' TMPDIR=$work make -s -C "$here" echo-shell >"$work/output" 2>&1 ||
		die "cannot build: $(grep -m 1 -e error: -e annot -e denied "$work/output" || last_line "$work/output")"
	find_sshd
	[ "$command" != run ] || [ -z "$ran" ] || die "the server runs already, with pid $ran"
	[ "$way" = drop-in ] || find_key
	render_all
	same "$new" "$lock" || system_view >"$work/before" 2>"$work/output" ||
		die "the system's sshd refuses its own configuration: $(last_line "$work/output"); fix it first"
	[ "$way" = drop-in ] || check_config
	put_all
}

# Install the server, and start it; with "run", become it.
install_server() {
	check_server
	prepare
	make_account demo
	start=
	if [ "$command" = run ]; then
		remove_account "$probe"
	else
		[ -n "$ran" ] && is_in_force || start=yes
		[ -z "$changed$start$made" ] || make_account "$probe"
	fi
	prove_and_reload
	if [ -n "$start" ]; then
		step "starting the server on port $port"
		changed=yes # going back starts the server that ran
		start_server >"$work/output" 2>&1 || die "the server does not start: $(reason "$work/output")"
		! is_taken "$port" "$(server_pid)" || refuse_port # one address of it, meanwhile
	fi
	! is_ours "$probe" || trial_login
	{ [ -e "$in_force" ] && [ -z "$start" ]; } || mark_in_force

	# Print the password before it is set: one that was set is known to somebody.
	kind=given
	password=${PASSWORD-}
	show="the one in PASSWORD"
	if [ -z "$password" ] && ! has_password demo; then
		kind=random
		password=$(random_password)
		show="$password    (kept nowhere: note it now; 'passwd demo' changes it)"
	fi
	[ -n "$changed$made$password" ] || [ "$command" = run ] ||
		step "nothing to do: all is there and runs; nothing was changed or restarted"
	say "
  log in     ssh -p $port demo@$host    (from elsewhere: this machine's name)${password:+
  password   $show}
  host key   $(ssh-keygen -lf "$own/ssh_host_key" | cut -d ' ' -f 2)
  leave      Enter ~ .
  remove     $me uninstall"
	[ -z "$password" ] || set_passwords "$kind" "demo:$password"
	back=
	if [ "$command" = run ]; then
		trap - EXIT HUP INT QUIT PIPE TERM
		rm -rf "$work"
		become_server -D -e
	fi
	systemd_runs || step "there is no systemd here: after a reboot the server does not come back by itself; $me starts it"
}

install_drop_in() {
	[ ! -e "$own/sshd_config" ] ||
		die "the server is here, and keeps its users out of the system's sshd: $me uninstall first"
	[ -z "${PORT-}${HOST_KEY-}${PASSWORD-}" ] ||
		die "drop-in has no port, host key or password of its own: unset PORT, HOST_KEY and PASSWORD"
	find_way
	prepare
	[ -n "$(our_users)" ] || make_account "$probe" # sshd cannot be asked about nobody
	prove_and_reload
	remove_account "$probe"
	[ -e "$in_force" ] || { changed=yes && mark_in_force; }
	back=
	[ -n "$changed" ] || step "nothing to do: all is there; nothing was changed or reloaded"
	say "echo-shell: members of group $group get an echo from the system's sshd, and nothing else

  a user     $me add-user NAME
  leave      Enter ~ .
  remove     $me uninstall"
	system_sshd_listens || step "the system's sshd does not run: nobody can log in before it is started"
}

# End the run for names and passwords, given as name:password, that useradd and chpasswd
# would take but this script or a login would not.
check_users() {
	number=0
	names=' '
	for entry; do
		: $((number += 1))
		user=${entry%%:*}
		[ "$user" != "$entry" ] || die "line $number is not name:password"
		case $user in
		"$group" | "$probe" | '' | [!A-Za-z_]* | *[!A-Za-z0-9._-]*) die "'$user' is no name for a demo user" ;;
		esac
		case $names in *" $user "*) die "$user is there twice" ;; esac
		names="$names$user "
		case ${entry#*:} in
		'' | *[[:cntrl:]]*) die "the password of $user is empty or has a control character" ;;
		esac
		! getent passwd "$user" >/dev/null || is_ours "$user" ||
			die "the account $user exists and is not echo-shell's: rename or remove it, or take another name"
	done
}

# Make accounts, by name, or with - from lines of name:password on stdin.
add_users() {
	[ -e "$in_force" ] || die "nothing is installed here, or only half: $me or $me drop-in first"
	find_way
	find_sshd
	render_all
	same "$new" "$lock" ||
		die "$lock is not this checkout's: $again first"
	kind=random
	if [ "$*" = - ]; then
		kind=given
		shift
		while IFS= read -r line || [ -n "$line" ]; do
			set -- "$@" "$line"
		done
	else
		for user; do
			case $user in *:*) die "'$user' is no name: passwords are read from standard input, with -" ;; esac
			shift
			set -- "$@" "$user:$(random_password)"
		done
	fi
	check_users "$@"
	was_here=yes
	back=go_back
	out=
	for entry; do
		shift
		user=${entry%%:*}
		if is_ours "$user" && has_password "$user"; then
			step "$user is here already, and keeps its password"
			continue
		fi
		set -- "$@" "$entry"
		make_account "$user"
		prove_lock "$user"
		rule=$(kept_out "$user")
		[ -z "$rule" ] || { out="$out $user"; why=$rule; }
	done
	[ $# != 0 ] || return 0
	[ -z "$out" ] || step "not let in by this sshd, which has '$why', until its configuration also has: ${why%% *}$(
		if [ "${why%% *}" = AllowUsers ]; then echo "$out"; else echo " $group"; fi
	)"
	for entry; do
		if [ "$kind" = given ]; then say "${entry%%:*}"; else say "$entry"; fi
	done
	set_passwords "$kind" "$@"
	back=
}

remove_users() {
	for user; do
		! getent passwd "$user" >/dev/null || is_ours "$user" ||
			die "$user is not an account that setup.sh made; nothing is removed"
	done
	for user; do
		if is_ours "$user"; then
			remove_account "$user"
			step "$user is removed, and the sessions are ended"
		else
			step "$user is not here"
		fi
	done
}

# Print a line of the status. A third word says that not all is well.
line() {
	say "$(printf '  %-10s %s' "$1" "$2")"
	well=${3-$well}
}

# Print what is here and who is on. Fail if something is wrong.
status() {
	[ -d "$own" ] || die "nothing of echo-shell is here: $me or $me drop-in installs it"
	find_way
	find_sshd
	render_all
	well=yes
	is_in_force || line install "not all of it is in force: $again completes it" no
	for file in $files; do
		[ ! -e "$new$file" ] || same "$new" "$file" || line file "$file is not this checkout's: $again replaces it"
	done
	if [ "$way" = drop-in ]; then
		how="held to the echo"
		if system_sshd_listens; then
			line server "none: drop-in, on the system's sshd"
		else
			line server "the system's sshd, which does not run: start it" no
		fi
	else
		how="kept out of the system's sshd"
		"$sshd" -T -f "$own/sshd_config" >"$work/shown" 2>"$work/output" ||
			line settings "refused by sshd, and not in force: $(last_line "$work/output")" no
		for address in $(addresses); do port=${address##*:}; done
		if [ -z "$ran" ]; then
			line server "down: $me starts it" no
		elif is_taken "$port" "$ran"; then
			line server "up, but another process has part of port $port" no
		else
			listens=$(addresses | paste -s -d ' ' -)
			line server "up${listens:+, on $listens}"
		fi
		line "host key" "$(ssh-keygen -lf "$own/ssh_host_key" | cut -d ' ' -f 2)"
	fi
	for user in $(our_users); do
		if (prove_lock "$user") 2>/dev/null; then
			rule=$(kept_out "$user")
			line user "$user, ${rule:+cannot log in: }${rule:-$how}" ${rule:+no}
		else
			line user "$user, NOT $how: $me remove-user $user" no
		fi
		processes "$(id -u "$user")" | while read -r pid name; do
			[ "$name" != echo-shell ] ||
				line session "$user from $(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=\([^ ]*\).*/\1/p')"
		done 2>/dev/null
	done
	[ "$well" = yes ] || die "not all is well"
}

uninstall() {
	keep_sshd_off
	if [ ! -d "$own" ]; then
		step "nothing to do: nothing that setup.sh installed is here"
		return
	fi
	refuse_strangers
	find_way
	bring_over
	sshd=$(command -v sshd || echo /usr/sbin/sshd)
	made=$(our_users)
	changed=yes
	go_back
	(set +f && rm -rf /run/echo-shell.??????) # of runs that were killed, too
	step "everything is removed"
	[ ! -e "$admin" ] || step "only $admin is kept: you wrote it"
	[ -z "$port" ] || step "the host key is gone, too: who logged in here types ssh-keygen -R '[localhost]:$port'"
}

main() {
	trap 'finish $?' EXIT
	trap 'failure=interrupted; exit 1' HUP INT QUIT PIPE TERM
	# Not in /tmp, which every user can fill.
	[ "$(id -u)" != 0 ] || work=$(mktemp -d /run/echo-shell.XXXXXX 2>/dev/null) ||
		die "cannot write to /run: in a container, mount a tmpfs there"
	command=${1-}
	case $command in '' | run | test)
		[ -x "$here/setup.sh" ] || die "cannot execute $here/setup.sh: chmod +x it, or, if it is mounted with noexec, copy it elsewhere"
		;;
	esac
	case $command in
	-h | --help | help)
		sed -n 's/^#   //p' "$here/setup.sh"
		return
		;;
	'' | run | drop-in | status | uninstall) [ $# -le 1 ] || die "$command takes no arguments; see ./setup.sh --help" ;;
	add-user | remove-user) [ $# -gt 1 ] || die "$command wants names; see ./setup.sh --help" ;;
	test)
		shift
		install_packages 'cc:gcc libc6-dev' make:make sshd:openssh-server ssh:openssh-client \
			shellcheck:shellcheck bats:bats
		rm -rf "$work"
		exec "$here/tests/run" "$@"
		;;
	*) die "no such command: $*; see ./setup.sh --help" ;;
	esac
	[ "$(id -u)" = 0 ] || die "must be run as root: sudo ./setup.sh${*:+ $*}"
	[ "$command" = status ] || take_turn
	refuse_by_hand
	[ $# = 0 ] || shift
	case $command in
	'' | run) install_server ;;
	drop-in) install_drop_in ;;
	add-user) add_users "$@" ;;
	remove-user) remove_users "$@" ;;
	status) status ;;
	uninstall) uninstall ;;
	esac
}

# ssh asks this script for the password of the trial login.
case ${1-} in "$probe@"*) echo "$ECHO_SHELL_PASSWORD" ;; *) main "$@" ;; esac
