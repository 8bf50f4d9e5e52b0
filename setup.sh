#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Install the echo server on this machine, or remove it. As root:
#
#   ./setup.sh                      install, try and start the server, with guest demo
#   ./setup.sh run                  the same in a container, and become the server
#   ./setup.sh add-user NAME...     make guests; prints name:password for each
#   ./setup.sh add-user -           the same from lines of name:password on stdin;
#                                   a guest who is there gets a new password
#   ./setup.sh remove-user NAME...  remove guests and end their sessions
#   ./setup.sh status               what is here and who is on; 0 if all is well
#   ./setup.sh uninstall            end all sessions and remove everything
#   ./setup.sh test                 run the tests
#
#   In the environment: PORT=n, HOST_KEY=file, PASSWORD=word (demo's)
#
# What is ours lies in /var/lib/echo-shell, in trees. A tree is a server: the program,
# sshd's configuration, the host key, and the /etc that this sshd sees. A run makes the
# tree "new", and logs in to an sshd on it that nobody else can reach. Only then does it
# rename "now" to "old" and "new" to "now", and start the server on it. When that is up,
# "old" goes away. Nothing else is remembered. A run that is cut off leaves one of these,
# and the next one completes it:
#
#   new, perhaps now   nothing was switched: new is made again
#   old, perhaps new   in the middle of the switch: old becomes now again
#   old and now        now was not seen to work: it is replaced, and old kept till then
#
# At a first install, old is an empty folder. uninstall removes all of them.

# shellcheck disable=SC3013 # -ef is in POSIX since 2024, and in dash, bash and busybox
# ssh asks this script for the password of the trial login.
case ${1-} in "_trial@"*) printf '%s\n' "$ECHO_SHELL_PASSWORD" && exit ;; esac

set -euf
# What is opened next would take the place of a closed one.
(: 3<&0) 2>/dev/null || exec </dev/null
(: 3>&2) || exec 2>/dev/null
umask 022
LC_ALL=C
# Root by plain su has no sbin. An empty part would be the current folder.
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

here=$(readlink -f "$0")
here=${here%/*}
me="${SUDO_USER:+sudo }$0"
files=$here/sshd_config.d/port-2022
base=/var/lib/echo-shell
new=$base/new
program=$base/now/echo-shell # every guest's shell
account=_echo-shell          # reserves the uid of all guests
admin=/etc/echo-shell        # the administrator's; never written
service=echo-shell.service
unit=/etc/systemd/system/$service
pidfile=/run/echo-shell.pid # this and the log only without systemd
logfile=/var/log/echo-shell.log
no_start=/etc/ssh/sshd_not_to_be_run # Debian's own switch for its ssh service
mark="setup.sh of echo-shell removes this when apt-get has ended"

work=/run/echo-shell # this run's scratch files
locked=              # set once they are
failure=             # the line to end with
undo=                # the function that goes back, once something was changed
outcome=             # what it came to
switched=            # set once the trees were renamed

# --- how a run ends ---------------------------------------------------------

# Copy text of which others may have written parts: "?" for control characters.
printable() { tr -d '\r' | tr -c '\n\40-\176' '?'; }

say() { printf '%s\n' "$*" 2>/dev/null || die "cannot write to standard output"; }

step() { say "echo-shell: $*"; }

die() {
	failure=$*
	exit 1
}

last_line() { tail -n 1 "$work/output"; }

# Print what a program said, which seldom gives its reason in the last line, and die.
die_after() {
	tail -n 40 "$work/output" | printable >&2
	die "$@"
}

# Run a command quietly. If it fails, die with what it was for.
try() {
	what=$1
	shift
	"$@" >"$work/output" 2>&1 || die "cannot $what: $(last_line)"
}

# Go back if the run failed, and clean up. This is the EXIT trap.
finish() {
	trap - EXIT
	trap '' HUP INT QUIT PIPE TERM # a second Ctrl-C must not stop this
	set +e
	if [ "$1" != 0 ]; then
		[ -z "$locked" ] || (keep_sshd_off) >/dev/null 2>&1
		[ -z "$undo" ] || "$undo" >/dev/null 2>&1 </dev/null
		printf '%s\n' "setup.sh: ${failure:-stopped with status $1}${outcome:+; $outcome}" | printable >&2
	fi
	[ -z "$locked" ] || rm -rf "$work"
	exit "$1"
}

# Wait until no other setup.sh runs. Only root may open the file, or a user could hold
# the lock.
take_turn() {
	[ -w /run ] || die "cannot write to /run: in a container, mount a tmpfs there"
	(umask 077 && : >>/run/echo-shell.lock)
	exec 9</run/echo-shell.lock
	flock -n 9 || { step "another setup.sh is at work: waiting for it" && flock 9; }
	locked=yes
	rm -rf "$work"
	(umask 077 && mkdir "$work") || die "cannot make $work"
}

# --- what this machine has --------------------------------------------------

have() { command -v "$1" >/dev/null; }

# Run a command every tenth of a second until it succeeds. Fail after 10 seconds.
wait_for() {
	tries=100
	until "$@"; do
		[ $((tries -= 1)) != 0 ] || return
		sleep 0.1
	done
}

# Set $place to where guests live: in an /etc of the server's own, which systemd mounts,
# or a mount namespace without it; or, in a container that refuses mounts, in its /etc.
# That is still so for who comes in with more rights.
find_place() {
	etc=$base/now/etc
	seen=$base/now # where an sshd on the new tree sees it
	if [ -d /run/systemd/system ]; then
		place=systemd
	elif ! grep -q ":$program\$" /etc/passwd && unshare -m --propagation slave true 2>/dev/null; then
		place=namespace
	else
		place=container
		etc=/etc
		seen=$new
	fi
}

# Install packages. If openssh-server is among them, its own service is left disabled and
# not running.
install_packages() {
	{ have apt-get && [ "$(id -u)" = 0 ]; } || die "missing here: $*; install them, or run this as root where apt-get is"
	have sshd || [ -e "$no_start" ] || { mkdir -p /etc/ssh && echo "$mark" >"$no_start"; } || die "cannot write $no_start"
	step "installing $*"
	# A new machine upgrades itself in its first minutes: wait for that.
	tries=120
	until apt update || ! grep -q 'ould not get lock' "$work/output" || [ $((tries -= 1)) = 0 ]; do
		sleep 5
	done
	apt -y --no-install-recommends install "$@" || die_after "cannot install $*: apt-get says above why"
	keep_sshd_off
}

# Run apt-get, with a dot for each line that it prints.
apt() {
	rm -f "$work/failed"
	: >"$work/output"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" 2>&1 9>&- || : >"$work/failed"; } |
		awk -v "file=$work/output" '{ print >file; printf "."; fflush() } END { print "" }'
	[ ! -e "$work/failed" ]
}

# Disable the distribution's sshd if this run, or one that was cut off, installed it.
keep_sshd_off() {
	[ -e "$no_start" ] && grep -qxF "$mark" "$no_start" || return 0
	if have sshd && have systemctl; then
		try 'disable the ssh service' systemctl disable ssh.service ssh.socket
	elif have sshd; then
		try 'disable the ssh service' update-rc.d ssh disable
	fi
	try "remove $no_start" rm -f "$no_start"
}

# Return whether what is built runs here: the program answers a byte with a line, and the
# loader takes the preload.
works() {
	[ "$(printf x | timeout 5 "$here/echo-shell" 2>/dev/null 9>&-)" = "echo: 'x'$(printf '\r')" ] &&
		[ -e "$files/raw-pty.so" ] && [ -z "$(cd "$files" && LD_PRELOAD=./raw-pty.so env 2>&1 >/dev/null)" ]
}

is_built() { works && { ! have make || make -q -C "$here" all >/dev/null 2>&1; }; }

# Return whether there is make, and a compiler with the headers of the C library.
can_build() {
	# shellcheck disable=SC2086 # CC may be words
	have make && sed -n '/^#include/p' "$here/echo-shell.c" "$files/raw-pty.c" |
		${CC:-cc} -fsyntax-only -x c - >/dev/null 2>&1 9>&-
}

compile() { MAKEFLAGS='' TMPDIR=$work make -s -C "$here" "$@" >"$work/output" 2>&1 9>&-; }

# Get what the command needs, by packages and make.
get_all() {
	missing=
	build=
	have sshd || missing=openssh-server
	have ssh || missing="$missing openssh-client"
	if [ "$command" = test ]; then
		have shellcheck || missing="$missing shellcheck"
		have bats || missing="$missing bats"
	fi
	if [ "$command" = test ] || ! is_built; then
		build=yes
		[ -z "${CC-}" ] || have "${CC%% *}" || die "CC=$CC is not here: install it, or unset CC"
		can_build || missing="$missing gcc libc6-dev make"
	fi
	# shellcheck disable=SC2086 # words
	[ -z "$missing" ] || install_packages ${missing# }
	if [ -n "$build" ] && [ "$command" != test ]; then
		compile all || die_after "cannot build: see above"
		works || { compile clean all && works; } || die "what make has built in $here does not run here"
	fi
}

# --- guests -----------------------------------------------------------------

guests() { awk -F : -v "base=$base/" 'index($7, base) == 1 { print $1 }' "$etc/passwd" 2>/dev/null || :; }

is_guest() { guests | grep -qxF -e "$1"; }

# Print 20 of 31 letters and digits, none that looks like another: 99 bits.
random_password() {
	dd if=/dev/urandom bs=1024 count=1 2>/dev/null | tr -dc 'abcdefghjkmnpqrstuvwxyz23456789' | cut -c 1-20
}

# Hash passwords, given as name:password, into $work/hash/etc/shadow. chpasswd does it in
# a tree that has nothing else, without PAM and its rules. printf is a builtin: nothing
# shows in the process list.
hash_passwords() {
	mkdir -p "$work/hash/etc"
	: >"$work/hash/etc/group"
	for entry; do
		echo "${entry%%:*}:x:1:1::/:"
	done >"$work/hash/etc/passwd"
	sed 's/:.*/:!:::::::/' "$work/hash/etc/passwd" >"$work/hash/etc/shadow"
	printf '%s\n' "$@" | chpasswd -R "$work/hash" -c SHA512 >"$work/output" 2>&1 ||
		die "cannot set the password of ${1%%:*}: $(last_line)$(lacks)"
}

# Put guests, given in a file as lines of shadow, into the guests' /etc, in the place of those
# who are there; or, with a second argument, take them out. sshd sees the old files or the
# new ones. The home is /: sshd tells the session of one that does not exist.
put_guests() {
	for file in shadow passwd; do
		{
			cp -p "$etc/$file" "$etc/$file.new" && awk -F : -v "file=$file" -v "out=${2-}" \
				-v "rest=:x:$uid:$gid::/:$program" -v "trial=:x:$uid:$gid::/:$seen/echo-shell" '
				FILENAME == ARGV[1] { line[$1] = $0; name[FNR] = $1; next }
				!($1 in line)
				END {
					for (i = 1; !out && i in name; i++)
						print file == "shadow" ? line[name[i]] : name[i] (name[i] == "_trial" ? trial : rest)
				}' "$1" "$etc/$file" >"$etc/$file.new" && mv "$etc/$file.new" "$etc/$file"
		} 2>"$work/output" || { rm -f "$etc/$file.new"; die "cannot write $etc/$file: $(last_line)"; }
	done
}

remove_guests() {
	printf '%s:\n' "$@" >"$work/gone"
	put_guests "$work/gone" out
}

# Print the pids of all processes that see one of our trees as /etc; in a container, of all.
our_processes() (
	set +f
	for process in /proc/[0-9]*; do
		for tree in now old new; do
			if [ "$place" = container ] || [ "$process/root/etc" -ef "$base/$tree/etc" ]; then
				echo "${process#/proc/}"
				break
			fi
		done
	done
)

# Print the pids of those of them that have the guests' uid and are not dead; after that of
# an sshd, whose session it is. Root's sshd above it has the same title, but may be the
# system's, with an account of that name.
of_guests() {
	# They can be more than cat can have arguments.
	our_processes | sed 's|.*|/proc/&/status|' | xargs cat 2>/dev/null | awk -v "uid=$uid" '
		/^State:/ { dead = $2 == "Z" }
		/^Pid:/ { pid = $2 }
		/^Uid:/ && $2 == uid && !dead {
			title = ""
			getline title <("/proc/" pid "/cmdline")
			close("/proc/" pid "/cmdline")
			if (!sub(/^sshd(-session)?: /, "", title)) title = ""
			sub(/[^A-Za-z0-9._-].*/, "", title)
			print pid, title
		}'
}

sessions_of() { of_guests | awk -v "name=$1" '$2 == name'; }

# Kill the processes whose pids begin the lines of a command. Succeed if there was none.
killed() {
	# shellcheck disable=SC2046 # words
	set -- $("$@" | sed 's/ .*//')
	[ $# = 0 ] || { kill -KILL "$@" 2>/dev/null; false; }
}

# --- the new tree -----------------------------------------------------------

# Reserve a uid that no account of the machine has, for all guests, and a gid.
reserve_uid() {
	getent group "$account" >/dev/null || try "make the group $account" groupadd -r "$account"
	getent passwd "$account" >/dev/null || try "make the account $account" useradd -r -g "$account" \
		-M -d /nonexistent -s /usr/sbin/nologin -c 'the uid of the guests of echo-shell' "$account"
	uid=$(number passwd)
	gid=$(number group)
}

number() { getent "$1" "$account" | cut -d : -f 3; }

# Make the new tree: the server as it is to be, with the guests who are there, and _trial,
# whose password only this run knows.
make_tree() {
	port=${PORT:-$(sed -n 's/^Port //p' "$base/now/sshd_config" 2>/dev/null || :)}
	{
		rm -rf "$new" && mkdir -p "$new/etc" && chmod 711 "${new%/*}" "$new" &&
			install -m 755 "$here/echo-shell" "$files/raw-pty.so" "$files/start" "$files/banner" "$new" &&
			sed "s|^Port 2022\$|Port ${port:-2022}|" "$files/sshd_config" >"$new/sshd_config" &&
			sed "s|/usr/sbin/sshd|$sshd|" "$files/$service" >"$new/$service" &&
			: >"$new/utmp"
	} 2>"$work/output" || die "cannot make $new: $(last_line)"
	make_key
	trial=$(random_password)
	hash_passwords "_trial:$trial"
	old=$etc
	demo=${PASSWORD+yes}
	[ -d "$base/now" ] || demo=yes
	[ "$place" = container ] || make_etc
	# Guests get the account's uid of today; in their order, as two trees are compared.
	awk -F : -v "shell=$program" 'FILENAME == ARGV[1] { if ($7 == shell) guest[$1]; next }
		$1 in guest' "$old/passwd" "$old/shadow" >"$work/guests" 2>/dev/null || demo=yes
	[ -z "$demo" ] || grep -q '^demo:' "$work/guests" || { check_name demo && echo 'demo:!:::::::' >>"$work/guests"; }
	cat "$work/hash/etc/shadow" >>"$work/guests"
	put_guests "$work/guests"
	[ ! -d "$admin" ] || try "copy $admin" cp -RLp "$admin" "$new/etc/echo-shell"
}

# Put the host key into the tree: HOST_KEY, or the one that is there, or a new one.
make_key() {
	key=${HOST_KEY:-$base/now/ssh_host_key}
	if [ -z "${HOST_KEY-}" ] && [ ! -e "$key" ]; then
		try 'make a host key' ssh-keygen -q -t ed25519 -N '' -C echo-shell -f "$work/key"
		key=$work/key
	fi
	[ -f "$key" ] || die "HOST_KEY=$key: there is no such file"
	# On its way here a secret may have got quotes, or CRs, blanks, "\n" or nothing for its
	# line ends.
	(umask 077 && sed 's/\\[nr]/ /g; s/ PRIVATE KEY-----/_PRIVATE_KEY----- /g
		s/.*-BEGIN[ _]/-----BEGIN_/; s/-----END[ _]/ -----END_/' "$key" |
		tr -s ' \t\r"' '\n' | tr _ ' ' | awk '/^-----BEGIN/, /^-----END/' >"$new/ssh_host_key")
	ssh-keygen -y -P '' -f "$new/ssh_host_key" >"$work/key.pub" 2>&1 ||
		die "HOST_KEY=$key is not a private key without a passphrase"
}

# Make the /etc that the server sees, with root and sshd's own user, and no guest yet.
make_etc() {
	etc=$new/etc
	{
		getent passwd root sshd | awk -F : '{ print $1 ":x:" $3 ":" $4 "::/:/usr/sbin/nologin" }' >"$etc/passwd" &&
			{ getent group root tty | sed 's/[^:]*$//' && echo "$account:x:$gid:"; } >"$etc/group" &&
			printf '%s: files\n' passwd group shadow hosts >"$etc/nsswitch.conf" &&
			printf '%s localhost\n' 127.0.0.1 ::1 >"$etc/hosts" &&
			(umask 077 && echo 'root:*:::::::' >"$etc/shadow") &&
			{ [ ! -d /etc/selinux ] || mkdir "$etc/selinux"; }
	} 2>"$work/output" || die "cannot make $etc: $(last_line)"
}

# Print the command line before a command that is to run where the server would, on the
# new tree. systemd-run needs D-Bus, which a small machine may not have.
sandbox() {
	if [ "$place" = container ]; then
		echo "env LD_PRELOAD=$new/raw-pty.so"
	elif [ "$place" = systemd ] && [ -S /run/dbus/system_bus_socket ]; then
		echo systemd-run -q --pipe --wait --collect
		sed "/^\[Service\]/,/^\[Install\]/!d; /^[A-Z]/!d; /^Type/d; /^Exec/d; /^Restart/d
			s|$base/now\([a-z/]*:\)|$new\1|g; s/.*/-p '&'/" "$new/$service"
	else
		echo "unshare -m --propagation slave sh $new/start $new"
	fi | tr '\n' ' '
}

# Have sshd show its configuration, with the administrator's files. Keep that in the tree.
check_config() {
	sandbox=$(sandbox)
	sed "s|$base/now/|$seen/|g" "$new/sshd_config" >"$new/trial_config"
	status=0
	sh -c "$sandbox $sshd -T -f $seen/trial_config" >"$work/config" 2>"$work/output" || status=$?
	[ "$status" != 226 ] || die "systemd may not mount here, which is to keep guests apart from the accounts of this" \
		"machine: allow it (in LXC and Incus, security.nesting=true) or use another machine"
	[ "$status" != 0 ] || printable <"$work/output" >&2 # a key that is not there, perhaps
	[ "$status" = 0 ] || die_after "sshd refuses the configuration with $admin/*.conf: see above"
	sed "s|$seen/|$base/now/|" "$work/config" | sort >"$new/config"
}

# Log in to an sshd on the new tree as _trial, without and with a terminal. Die unless both
# get their echo. The administrator's files are left out: over a pipe, sshd does not know
# from where a client comes.
prove() {
	sed "s|$base/now/|$seen/|g; /^Include /d" "$new/sshd_config" >"$new/trial_config"
	echo "echo $(cat "$work/key.pub")" >"$work/known_hosts"
	proxy="timeout 20 $(echo "$sandbox" | sed 's/%/%%/g') $sshd -i -e -f $seen/trial_config"
	for tty in -T -tt; do
		type_word | SHELL=/bin/sh ECHO_SHELL_PASSWORD=$trial SSH_ASKPASS=$here/setup.sh SSH_ASKPASS_REQUIRE=force \
			ssh "$tty" -F none -o "ProxyCommand=$proxy" -o "UserKnownHostsFile=$work/known_hosts" \
			-o StrictHostKeyChecking=yes -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 \
			-o LogLevel=ERROR _trial@echo >"$work/answer$tty" 2>"$work/output" 9>&- || :
		answered || die_after "a login to the new server (ssh $tty) got no echo$(lacks)"
	done
	remove_guests _trial
	rm "$new/trial_config"
}

answered() { grep -qs "echo: 'setup'" "$work/answer$tty"; }

# Print a word; with a terminal, wait for its answer and print the keys with which ssh leaves.
type_word() {
	exec 9>&- # or it keeps the turn if this run is killed
	printf setup
	[ "$tty" = -T ] || { wait_for answered || :; printf '\r~.'; }
}

# Print which of the capabilities that sshd needs are not here.
lacks() {
	has=$((0x$(sed -n 's/^CapEff:.//p' /proc/self/status)))
	for capability in CHOWN:0 SETGID:6 SETUID:7 SYS_CHROOT:18 AUDIT_WRITE:29; do
		[ $((has >> ${capability#*:} & 1)) = 1 ] ||
			printf '%s' "; a capability is missing: start this container with --cap-add ${capability%:*}"
	done
}

# --- the server -------------------------------------------------------------

# Print the pid of the server's sshd. Fail if it does not run.
server_pid() {
	if [ "$place" = systemd ]; then
		systemctl show -p MainPID --value "$service" 2>/dev/null
	else
		our_processes | sed 's|.*|/proc/&/cmdline|' |
			xargs grep -ls "^sshd: .* $base/now/sshd_config \[listener" | sed 's/[^0-9]//g; q'
	fi | grep '^[1-9]'
}

# Compare the addresses in the configuration of a tree, as sshd has shown it, with what
# listens. Print "listens" if a process has any address, "lacks" if it has not all (of IPv6
# only where there is any), and "taken PORT" if another process is in the way.
sockets() {
	# shellcheck disable=SC2012 # not for the names, for what they point to
	{ ls -l "/proc/${1:-none}/fd" || :; cat "$base/$2/config" /proc/net/if_inet6 /proc/net/tcp /proc/net/tcp6; } 2>/dev/null | awk '
		/socket:\[/ { gsub(/.*\[|\].*/, ""); ours[$0] }
		tolower($1) == "listenaddress" {
			port = substr($2, match($2, /[0-9]*$/))
			number[sprintf("%04X", port)] = port
			if ($2 ~ /^(0\.0\.0\.0|\[::\]):/) all[sprintf("%04X", port)]
			want[$2 ~ /^\[/]++
		}
		length($1) == 32 { six = 1 }
		$4 == "0A" {
			split($2, at, ":")
			if ($10 in ours) have++
			else if (at[2] in number && (at[2] in all || at[1] ~ /^0*$/)) taken[at[2]]
		}
		END {
			if (have) print "listens"
			if (have < want[0] + six * want[1]) print "lacks"
			for (port in taken) print "taken", number[port]
		}'
}

# Return whether a process is the sshd that is installed, runs on the tree in use, and has
# all addresses. sshd starts with what it gets of them.
is_well() {
	[ "/proc/$1/exe" -ef "$sshd" ] || return
	[ "$place" = container ] || [ "/proc/$1/root/etc" -ef "$base/now/etc" ] || return
	! sockets "$1" now | grep -q lacks
}

# Become the server, by a command if one is given. The pid file is for administrators.
serve() {
	case $place in
	namespace) set -- "$@" unshare -m --propagation slave sh "$base/now/start" "$base/now" ;;
	container) set -- "$@" sh "$base/now/start" - ;;
	esac
	trap - EXIT HUP INT QUIT PIPE TERM
	exec sh -c 'echo "$$" >"$0" && exec "$@"' "$pidfile" "$@" "$sshd" -D -e -f "$base/now/sshd_config" 9>&-
}

# Start the server, and wait until it is up. Fail as soon as that cannot be any more.
start_server() {
	if [ "$place" = systemd ]; then
		systemctl daemon-reload && systemctl restart "$service" || return
		pid=$(systemctl show -p MainPID --value "$service")
	else
		stop_server
		serve setsid </dev/null >>"$logfile" 2>&1 &
		pid=$!
	fi
	wait_for listens_or_ended
	is_well "$pid" || { sleep 0.2 && is_well "$pid"; } || return # between two addresses, perhaps
	answers
}

listens_or_ended() { [ ! -e "/proc/$pid" ] || sockets "$pid" now | grep -q listens; }

# Return whether the server answers. It is asked once: from OpenSSH 9.8 on, who comes and
# does not log in has to wait after a while.
answers() {
	find_address
	ssh-keyscan -T 10 -t ed25519 -p "$port" "$host" 2>&1 | grep -q 'SSH-2.0-'
}

# Print the addresses at which the server is to listen, those of IPv4 first.
addresses() { sed -n 's/^[Ll]isten[Aa]ddress \([^ ]*\).*/\1/p' "$base/now/config" | paste -s -d ' ' -; }

# Set $port and $host to where this machine reaches it.
find_address() {
	host=$(addresses)
	host=${host%% *}
	port=${host##*:}
	host=${host%:*}
	case $host in 0.0.0.0) host=127.0.0.1 ;; '[::]') host=::1 ;; \[*) host=${host#?} && host=${host%?} ;; esac
}

# End the server and its sessions.
stop_server() {
	[ "$place" != systemd ] || systemctl -q stop "$service" 2>/dev/null || :
	if [ "$place" = container ]; then
		wait_for killed server_pid && wait_for killed of_guests
	else
		wait_for killed our_processes
	fi || die "cannot end all sessions"
	rm -f "$pidfile"
}

# --- from the old server to the new one -------------------------------------

# Return whether two trees differ, but for utmp, which is sshd's.
differ() { diff -rq "$1" "$2" 2>&1 | grep -qv /utmp; }

# Rename the trees. From here on, a run that fails goes back.
switch_trees() {
	try 'write to the disk' sync
	switched=yes
	if [ -d "$base/old" ]; then
		stop_server # what runs on a tree is known by that tree
		try "rename $base/now" mv "$base/now" "$new/gone" # half of it must never be now
	elif [ -d "$base/now" ]; then
		try "rename $base/now" mv "$base/now" "$base/old"
	else
		try "make $base/old" mkdir "$base/old"
	fi
	try "rename $new" mv "$new" "$base/now"
	rm -rf "$base/now/gone"
	try "install $unit" put_unit
}

# Have systemd start the tree in use, also at boot. The unit is a copy: /var may be mounted
# after systemd has looked for units.
put_unit() {
	[ "$place" = systemd ] || return 0
	cp "$base/now/$service" "$unit.new" && mv "$unit.new" "$unit" && systemctl daemon-reload && systemctl -q enable "$service"
}

is_enabled() {
	[ "$place" != systemd ] || { ! differ "$base/now/$service" "$unit" && systemctl -q is-enabled "$service"; }
}

# Go back to what was here before. No step may end this: each can fail.
go_back() {
	outcome=${outcome:-nothing was changed}
	[ "$place" != container ] || (remove_guests _trial)
	rm -rf "$new"
	if [ -n "$switched" ]; then
		outcome="the old server is back, without its sessions"
		(stop_server)
		mv "$base/now" "$new"
		rmdir "$base/old" || mv "$base/old" "$base/now"
		rm -rf "$new"
		put_unit
		[ -z "$ran" ] || (start_server) || outcome="the old server does not come up again: $me status"
	fi
	[ -d "$base/now" ] || [ -d "$base/old" ] || {
		outcome="nothing is installed"
		(remove_all) || outcome="$me uninstall removes the rest"
	}
}

# Take away all that is ours.
remove_all() {
	stop_server
	if [ "$place" = systemd ]; then
		[ ! -e "$unit" ] || try "disable $service" systemctl disable "$service"
		try "remove $unit" rm -f "$unit" "$unit.new"
		try "reload systemd" systemctl daemon-reload
		systemctl -q reset-failed "$service" 2>/dev/null || :
	fi
	etc=/etc # a container's, whose guests are its own
	# shellcheck disable=SC2046 # words
	[ -z "$(guests)" ] || remove_guests $(guests)
	for tree in new now old; do
		try "remove $base/$tree" rm -rf "$base/$tree"
	done
	rmdir "$base" 2>/dev/null || [ ! -e "$base" ] || step "kept $base: it holds files that setup.sh did not write"
	! getent passwd "$account" >/dev/null || try "remove the account $account" userdel "$account"
	! getent group "$account" >/dev/null || try "remove the group $account" groupdel "$account"
	try "remove $logfile" rm -f "$logfile"
}

# --- the commands -----------------------------------------------------------

# Refuse what can be refused now, and get what is missing.
prepare() {
	case ${PORT:-1} in 0* | *[!0-9]*) false ;; *) [ "${PORT:-1}" -le 65535 ] 2>/dev/null ;; esac ||
		die "PORT=$PORT is not a port"
	[ -x "$here/setup.sh" ] || die "ssh could not ask $here/setup.sh for a password: chmod +x it"
	[ -z "${PASSWORD+set}" ] || check_password demo "$PASSWORD"
	[ "$command" != run ] || [ "$place" != systemd ] || die "systemd runs here: $me makes a service of the server"
	keep_sshd_off
	get_all
	sshd=$(readlink -f "$(command -v sshd)") # /sbin may be /usr/sbin
	[ -d "$base/now" ] || [ ! -d "$base/old" ] || rmdir "$base/old" 2>/dev/null ||
		try "rename $base/old" mv "$base/old" "$base/now"
	ran=$(server_pid) || ran=
	[ "$command" != run ] || [ -z "$ran" ] || die "the server runs already, with pid $ran"
	[ "$place" != container ] || check_container
}

# In a container that refuses mounts, guests are accounts of the container: another sshd
# would let them in.
check_container() {
	step "no mounts here: the guests are accounts of this container"
	mkdir -p /run/sshd # sshd wants its empty folder
	for pid in $(our_processes); do
		case $(cat "/proc/$pid/comm" 2>/dev/null):$pid in "sshd:$ran") continue ;; sshd:*) ;; *) continue ;; esac
		! sockets "$pid" new | grep -q listens ||
			die "an sshd listens in this container, with pid $pid, and would let guests in: end it first"
	done
}

# Install the server and start it; with "run", become it.
install_server() {
	prepare
	undo=go_back
	reserve_uid
	make_tree
	check_config
	taken=$(sockets "$ran" new | sed -n 's/^taken //p')
	[ -z "$taken" ] || die "port ${taken%%[!0-9]*} is taken: choose another one, ${SUDO_USER:+sudo }PORT=n $0"
	prove
	changed=
	if [ -d "$base/old" ] || differ "$base/now" "$new" || ! is_enabled; then
		changed=yes
		switch_trees
	fi
	[ "$place" = container ] || etc=$base/now/etc
	if [ "$command" != run ] && { [ -n "$changed" ] || ! is_well "$ran"; }; then
		[ -z "$ran" ] || { step "starting the server anew, which ends its sessions" && outcome="its sessions are ended"; }
		(start_server) >"$work/output" 2>&1 || {
			if [ "$place" = systemd ]; then journalctl -q -n 8 -o cat -u "$service"; else tail -n 8 "$logfile"; fi >"$work/output" 2>&1
			die_after "the server does not come up on $(addresses): see above"
		}
	elif [ "$command" != run ]; then
		step "all is there, and a login works: nothing was changed or restarted${PASSWORD+ but the password of demo}"
	fi
	show_login
	[ ! -d "$base/old" ] || try "rename $base/old" mv "$base/old" "$new"
	undo=
	rm -rf "$new"
	[ "$command" != run ] || { rm -rf "$work" && serve; }
	[ "$place" = systemd ] || step "no systemd runs here: after a reboot the server does not come back by itself; $me starts it"
}

# Print what a newcomer needs. The password is printed before it is set: one that was set
# is known to somebody.
show_login() {
	find_address
	who=demo
	is_guest demo || who=$(guests | sed 1q)
	remark="from elsewhere: this machine's name"
	[ -n "$who" ] || remark="no guest is here: $me add-user NAME makes one"
	password=${PASSWORD-}
	show="the one in PASSWORD"
	if [ -z "$password" ] && grep -qs '^demo:!:' "$etc/shadow"; then
		password=$(random_password)
		show="$password    (kept nowhere: note it now)"
	fi
	say "
  log in     ssh -p $port ${who:-NAME}@$host    ($remark)${password:+
  password   $show}
  host key   $(fingerprint)
  leave      Enter ~ .
  remove     $me uninstall"
	[ -z "$password" ] || set_passwords "demo:$password"
}

fingerprint() { ssh-keygen -lf "$base/now/ssh_host_key" | cut -d ' ' -f 2; }

set_passwords() {
	hash_passwords "$@"
	put_guests "$work/hash/etc/shadow"
	try 'write to the disk' sync # not each file system keeps the order of a write and a rename
}

check_password() {
	case $2 in '' | *[[:cntrl:]]*) die "the password of $1 is empty or has a control character" ;; esac
	[ ${#2} -le 256 ] || die "the password of $1 has more than 256 characters" # crypt(3) takes 511
}

# Die for a name that is none, or that the guests' /etc has for something else.
check_name() {
	case $1 in _trial | '' | [!A-Za-z_]* | *[!A-Za-z0-9._-]*) die "'$1' is no name for a guest: take letters, digits, . _ -" ;; esac
	[ ${#1} -le 32 ] || die "'$1' is too long a name for a guest"
	! cut -d : -f 1 "$etc/passwd" 2>/dev/null | grep -qxF -e "$1" || is_guest "$1" ||
		die "'$1' is no name for a guest: an account has it"
}

# Set $uid and $gid to those of the guests. The account may have others now.
find_numbers() {
	awk -F : -v "shell=$program" '$7 == shell { print $3, $4; exit }' "$etc/passwd" >"$work/numbers" 2>/dev/null || :
	read -r uid gid <"$work/numbers" || { uid=$(number passwd) && gid=$(number group); }
}

# Die unless there is a server that was seen to work.
need_server() {
	[ -d "$base/now" ] || die "no echo server is installed here: $me"
	[ ! -d "$base/old" ] || die "a run of setup.sh was cut off: $me completes it"
	for file in "$etc/passwd" "$etc/group" "$etc/shadow" "$program" "$base/now/sshd_config" \
		"$base/now/ssh_host_key" "$base/now/config"; do
		[ -s "$file" ] || die "$file is gone: $me"
	done
	find_numbers
	case $uid:$gid in :* | *:) die "the account $account is gone: $me" ;; esac
}

# Make guests, by name, or with - from lines of name:password on stdin.
add_users() {
	need_server
	given=
	if [ "$*" = - ]; then
		given=yes
		shift
		while IFS= read -r line || [ -n "$line" ]; do
			set -- "$@" "$line"
		done
	fi
	names=' '
	for entry; do
		shift
		name=$entry
		if [ -n "$given" ]; then name=${entry%%:*}; else entry=$name:$(random_password); fi
		[ "$name" != "$entry" ] || die "'$name' is not a line of name:password"
		check_name "$name"
		check_password "$name" "${entry#*:}"
		case $names in *" $name "*) die "$name is there twice" ;; esac
		names="$names$name "
		set -- "$@" "$entry"
	done
	[ $# != 0 ] || return 0
	for entry; do
		if [ -n "$given" ]; then say "${entry%%:*}"; else say "$entry"; fi
	done
	set_passwords "$@"
}

remove_users() {
	need_server
	for name; do
		is_guest "$name" || { step "$name is not here" && continue; }
		remove_guests "$name"
		wait_for killed sessions_of "$name" || die "cannot end the sessions of $name"
		step "$name is removed, and the sessions are ended"
	done
}

# Print a line of the status. A third word says that not all is well.
line() {
	say "$(printf '  %-10s %s' "$1" "$2")"
	well=${3-$well}
}

# Print what is here and who is on. Fail if something is wrong.
status() {
	need_server
	well=yes
	sshd=$(command -v sshd) || die "sshd is missing: install openssh-server"
	if ! pid=$(server_pid); then
		line server "down: $me starts it" no
	elif is_well "$pid"; then
		line server "up, on $(addresses)"
		grep -q raw-pty.so "/proc/$pid/maps" || line note "not exact from the first byte: raw-pty.so is not loaded"
	elif [ "/proc/$pid/exe" -ef "$sshd" ]; then
		line server "up, but not on all of $(addresses): $me says why" no
	else
		line server "up, but OpenSSH was upgraded since, and it may refuse every login: $me" no
	fi
	is_enabled || line boot "systemd does not start this server at boot: $me" no
	line "host key" "$(fingerprint)"
	[ ! -d "$admin" ] && [ ! -d "$base/now/etc/echo-shell" ] || ! differ "$admin" "$base/now/etc/echo-shell" ||
		line settings "$admin has changed: $me puts it in force" no
	[ "$(number passwd):$(number group)" = "$uid:$gid" ] ||
		line account "$account, which keeps the guests' uid $uid, is gone or has another: $me" no
	sessions=$(of_guests)
	! is_guest _trial || line guest "_trial, which a run left that was cut off: $me" no
	for name in $(guests | grep -vx _trial); do
		line guest "$name, $(printf '%s\n' "$sessions" | awk -v "name=$name" '$2 == name' | wc -l) connected"
	done
	[ "$well" = yes ] || die "not all is well"
}

uninstall() {
	keep_sshd_off
	if [ ! -d "$base" ] && [ ! -e "$unit" ] && [ -z "$(number passwd)$(number group)" ]; then
		step "nothing of the server is here"
		return
	fi
	find_numbers
	port=
	[ ! -e "$base/now/config" ] || find_address
	remove_all
	step "everything is removed, and all sessions are ended"
	[ ! -d "$admin" ] || step "only $admin is kept: you wrote it"
	[ -z "$port" ] || step "the host key is gone, too: who logged in here types ssh-keygen -R '[HOST]:$port'"
}

main() {
	trap 'finish $?' EXIT
	trap 'failure=interrupted; exit 1' HUP INT QUIT TERM
	trap 'failure="cannot write to standard output"; exit 1' PIPE
	command=${1-}
	case $command in
	-h | --help | help)
		sed -n 's/^#   \(.*\)/\1/p; /^# What is ours/q' "$here/setup.sh"
		return
		;;
	'' | run | status | uninstall) [ $# -le 1 ] || die "$command takes no arguments; see $0 --help" ;;
	add-user | remove-user) [ $# -gt 1 ] || die "$command wants names; see $0 --help" ;;
	test) ;;
	*) die "no such command: $*; see $0 --help" ;;
	esac
	[ "$(id -u)" = 0 ] || [ "$command" = test ] || die "must be run as root: sudo $0${*:+ $*}"
	[ $# = 0 ] || shift
	[ "$(id -u)" != 0 ] || take_turn
	find_place
	case $command in
	'' | run) install_server ;;
	add-user) add_users "$@" ;;
	remove-user) remove_users "$@" ;;
	status) status ;;
	uninstall) uninstall ;;
	test)
		get_all
		[ -z "$locked" ] || rm -rf "$work"
		trap - EXIT HUP INT QUIT PIPE TERM
		exec "$here/tests/run" "$@" 9>&-
		;;
	esac
}

main "$@"
