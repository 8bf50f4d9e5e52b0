#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Install the echo server on this machine, or remove it. As root:
#
#   ./setup.sh                      install, start and try the server, with guest demo
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
# The product is in /usr/local; each run writes it anew, by make install-server. What belongs
# to this machine is in /etc/echo-shell: host keys, machine.conf, and in etc what the server
# sees as its /etc, with the guests. A file there is replaced by one rename. The same command
# completes a run that was cut off; nothing else is remembered.

# shellcheck disable=SC3013,SC3043 # -ef, local: dash, bash and busybox have them
# shellcheck disable=SC2086,SC2046 # what is not quoted is a list of names, pids or words
set -eu
umask 022
export LC_ALL=C
# Open closed descriptors, or the next file would get their numbers. Without standard output
# printing a password has to fail.
[ -e /proc/self/fd/0 ] || exec </dev/null
[ -e /proc/self/fd/1 ] || exec >/dev/full
[ -e /proc/self/fd/2 ] || exec 2>/dev/null
# Root by plain su has no sbin. An empty part would be the current folder.
export PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

here=$(readlink -f "$0")
here=${here%/*}
me="${SUDO_USER:+sudo }$0"
program=/usr/local/bin/echo-shell
lib=/usr/local/lib/echo-shell
unit=/etc/systemd/system/echo-shell.service
state=/etc/echo-shell
settings=$state/sshd_config.d         # the administrator's: never written
sshd=/usr/sbin/sshd
account=_echo-shell                   # reserves the uid of all guests
account_is="uid of echo-shell guests" # the comment by which this script knows its account
guest_is="echo-shell guest"           # and its guests
work=/run/echo-shell                  # the lock, the pid file, this run's scratch files
pidfile=$work/sshd.pid                # this and the log only without systemd
logfile=/var/log/echo-shell.log
no_start=/etc/ssh/sshd_not_to_be_run  # Debian's own switch for its ssh service
mark="setup.sh of echo-shell removes this when apt-get has ended"

first=          # set if nothing was installed: a run that fails then removes all that it made
product_is_new= # set if this run has installed the product

# --- how a run begins and ends ----------------------------------------------

print() { printf '%s\n' "$@" 2>/dev/null || die "cannot write to standard output"; }

log() { print "echo-shell: $*"; }

# Copy text of which others may have written parts: "?" for control characters.
printable() { tr -d '\r' | tr -c '\n\40-\176' '?'; }

die() {
	printf '%s\n' "setup.sh: $*" | printable >&2
	exit 1
}

# End the run with a status, without what it has begun. This is the EXIT trap.
finish() {
	trap - EXIT
	trap '' HUP INT QUIT PIPE TERM # a second Ctrl-C must not stop this
	set +e
	if [ "$1" != 0 ]; then
		(keep_sshd_off)
		! is_guest _trial || (remove_guests _trial)
		if [ -n "$first" ]; then
			(remove_all) >/dev/null 2>&1
			printf '%s\n' "echo-shell: nothing is installed" >&2
		fi
	fi
	rm -f "$work"/scratch.*
	exit "$1"
}

# Wait until no other setup.sh runs. Only root may open the lock, or a user could hold it.
# Where all may write to /run, as in some containers, the folder may be somebody else's.
# Children that may outlive this run close the lock (9>&-).
acquire_lock() {
	local folder
	for folder in /etc /run; do
		[ -w "$folder" ] || die "$folder is read-only: make it writable (in a container, by a tmpfs or a volume)"
	done
	[ -d "$work" ] || mkdir -m 700 "$work" || die "cannot make $work"
	[ "$(stat -c %u:%F "$work")" = 0:directory ] || die "$work is not a folder of root's: remove it"
	exec 9>>"$work/lock"
	flock -n 9 || { log "another setup.sh is at work: waiting for it" && flock 9; }
	trap 'finish $?' EXIT
	trap 'die interrupted' HUP INT QUIT TERM
	trap 'die "cannot write to standard output"' PIPE
}

# Run a command every tenth of a second until it succeeds. Fail after some 10 seconds.
wait_for() {
	local tries=100
	until "$@"; do
		[ $((tries -= 1)) != 0 ] || return
		sleep 0.1
	done
}

# Set $isolation to what gives the server an /etc of its own, $etc to where guests are, $start
# to what starts sshd without systemd, and $ask to what has sshd read its settings. A
# container that refuses mounts has its guests in its own /etc, also for a more privileged
# command, as podman exec --privileged.
find_isolation() {
	etc=$state/etc
	isolation=namespace
	start="unshare -m --propagation slave sh $lib/start namespace"
	if [ -d /run/systemd/system ]; then
		isolation=systemd
	elif grep -q ":$guest_is:" /etc/passwd || ! unshare -m --propagation slave true 2>/dev/null; then
		isolation=container
		etc=/etc
		start="sh $lib/start container"
	fi
	ask="$start /dev/null"
	[ "$isolation" != systemd ] || ask="$sshd -f $lib/sshd_config" # then, by reload, inside the unit
}

# --- packages and the product -----------------------------------------------

have() { command -v "$1" >/dev/null; }

# Return whether program $1 answers a byte with a line, and mkshadow in folder $2 starts with
# the preload there.
runs_here() {
	[ "$(printf x | timeout 5 "$1" 2>/dev/null)" = "echo: 'x'$(printf '\r')" ] &&
		[ -z "$(cd "$2" && LD_PRELOAD=./raw-pty.so ./mkshadow 2>&1 </dev/null)" ]
}

run_make() {
	MAKEFLAGS='' make -s -C "$here" DESTDIR= BINDIR="${program%/*}" LIBDIR="${lib%/*}" UNITDIR="${unit%/*}" "$@" 9>&-
}

# Return whether all is built, and runs here. (The subshell: a signal's message is to be seen.)
was_built() { (run_make -q all >/dev/null 2>&1) && runs_here "$here/echo-shell" "$here/sshd_config.d/server"; }

# Return whether there is a compiler, with the headers that the sources include.
can_compile() {
	sed -n '/^#include/p' "$here/echo-shell.c" "$here"/sshd_config.d/server/*.c |
		${CC:-cc} -fsyntax-only -x c - >/dev/null 2>&1 9>&-
}

# Print the packages of programs, given as PROGRAM:PACKAGE, that are not here.
missing() {
	local pair
	for pair in sshd:openssh-server ssh:openssh-client "$@"; do
		have "${pair%:*}" || print "${pair#*:}"
	done
}

# Install the packages that are missing, and the product. Without make, or without sources
# beside this script, use the product that is installed.
get_all() {
	local packages source=''
	[ -z "${CC-}" ] || have "${CC%% *}" || die "CC=$CC is not here"
	packages=$(missing)
	if { have make && [ -e "$here/Makefile" ]; } || ! runs_here "$program" "$lib"; then
		[ -e "$here/Makefile" ] || die "nothing to install: no product in /usr/local runs here, and no source is beside $0"
		source=new
		if was_built; then
			source=built
		else
			packages=$(missing make:make)
			can_compile || packages="$packages gcc libc6-dev libcrypt-dev"
		fi
	fi
	[ -z "$packages" ] || install_packages $packages
	[ -n "$source" ] || return 0
	if [ "$source" = new ]; then
		run_make all || die "cannot build: see above"
		was_built || { run_make clean all && was_built; } || die "what make builds in $here does not run here"
	fi
	product_is_new=yes
	run_make install-server || die "cannot install the product: see above"
}

# Install packages. If openssh-server is among them, its own service stays disabled.
install_packages() {
	if ! have apt-get || [ "$(id -u)" != 0 ]; then
		die "missing here: $*; install them, or run this as root where apt-get is"
	fi
	log "installing $*"
	if [ ! -x "$sshd" ] && [ ! -e "$no_start" ]; then
		mkdir -p /etc/ssh
		print "$mark" >"$no_start"
	fi
	export DEBIAN_FRONTEND=noninteractive
	# A new machine upgrades itself in its first minutes: wait for that.
	for _ in $(seq 120); do
		apt-get -q update 2>&1 9>&- | tee "$work/scratch.apt"
		grep -q 'ould not get lock' "$work/scratch.apt" || break
		sleep 5
	done
	apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" 9>&- ||
		die "apt-get cannot install $*: see above"
	keep_sshd_off
}

# Disable the distribution's sshd if this run, or one that was cut off, installed it.
keep_sshd_off() {
	grep -qsxF "$mark" "$no_start" || return 0
	[ ! -x "$sshd" ] || systemctl -q disable ssh.service ssh.socket 2>/dev/null || update-rc.d ssh disable
	rm "$no_start"
}

# --- guests -----------------------------------------------------------------

guests() { sed -n "s/:.*:$guest_is:.*//p" "$etc/passwd" 2>/dev/null || :; }

is_guest() { guests | grep -qxF -e "$1"; }

# Print 20 of 31 letters and digits, none that looks like another: 99 bits.
random_password() { tr -dc abcdefghjkmnpqrstuvwxyz23456789 </dev/urandom 2>/dev/null | head -c 20; }

# Die unless lines are name:password, for guests who are or can be made.
check_guests() {
	local why accounts="$etc/passwd"
	[ -e "$accounts" ] || accounts=/dev/null
	why=$(print "$1" | awk -F : -v "guest_is=$guest_is" '
		!given { if ($5 != guest_is) account[$1]; next }
		{ name = "\047" $1 "\047"; password = substr($0, length($1) + 2) }
		NF < 2 { print "line " FNR " is not name:password"; exit }
		$1 !~ /^[A-Za-z_][A-Za-z0-9._-]*$/ || length($1) > 32 || $1 == "_trial" {
			print name " is no name for a guest: take up to 32 letters, digits and . _ -"; exit
		}
		$1 in account { print name " is no name for a guest: an account has it"; exit }
		seen[$1]++ { print name " is there twice"; exit }
		length(password) < 1 || length(password) > 256 || password ~ /[\001-\037\177]/ {
			print "the password of " name " is not 1 to 256 characters, or has a control character"; exit
		}' "$accounts" given=1 -)
	[ -z "$why" ] || die "$why"
}

# Replace a file of root's by what is on stdin, whole or not at all, with a mode.
replace() {
	local new="$1.echo-shell"
	if ! { (umask 077 && cat >"$new") && chmod "$2" "$new" && sync "$new" && mv -f "$new" "$1"; }; then
		die "cannot write $1"
	fi
}

# Replace the lines of some names in $etc/passwd or shadow by those on stdin. Die, with the
# old file in place, if another line would be lost.
replace_lines() {
	local file="$etc/$1" new="$etc/$1.echo-shell" lines
	shift
	lines=$(cp -p "$file" "$new" && awk -F : -v "names= $* " -v "new=$new" '
		given || !index(names, " " $1 " ") { print >new; n++; root += $1 == "root" }
		END { if (root == 1) print n }' "$file" given=1 -) || die "cannot write $new"
	if [ "$(wc -l <"$new")" != "$lines" ] || ! sync "$new" || ! mv -f "$new" "$file"; then
		die "cannot write $file"
	fi
}

# Print the lines of guests in passwd. Home is /: sshd complains to the user about a missing
# one.
guest_lines() {
	local name
	for name; do
		print "$name:x:$ids:$guest_is:/:$program"
	done
}

# Set the passwords of guests, given as lines of name:password, and make those who are new.
# print is the shell's own: nothing shows in the process list.
set_passwords() {
	local lines names
	lines=$(print "$1" | "$lib/mkshadow") || die "cannot hash the passwords"
	names=$(print "$lines" | cut -d : -f 1)
	guest_lines $names | replace_lines passwd $names
	print "$lines" | replace_lines shadow $names
}

# Remove guests. Shadow comes first: a line left there would never be found again.
remove_guests() {
	replace_lines shadow "$@" </dev/null
	replace_lines passwd "$@" </dev/null
}

# --- the state --------------------------------------------------------------

# Make the account that reserves a uid and a gid for guests. Die if another has its name.
make_account() {
	if find_ids; then return; fi
	if ! getent group "$account" >/dev/null; then
		groupadd -r "$account" || die "cannot make the group $account: see above"
	elif ! is_empty_group; then
		die "the group $account has members, so this script did not make it: rename it, or remove it"
	fi
	getent passwd "$account" >/dev/null || useradd -r -g "$account" -M -d /nonexistent \
		-s /usr/sbin/nologin -c "$account_is" "$account" || die "cannot make the account $account: see above"
	find_ids || die "the account $account is not one that this script made: rename it, or remove it"
}

is_empty_group() { getent group "$account" | grep -q ':$'; }

# Set $ids to uid:gid of our account. Fail if there is none: it is locked and marked.
find_ids() {
	ids=$(getent passwd "$account" | sed -n "s|^[^:]*:[^:]*:\(.*\):$account_is:/nonexistent:/usr/sbin/nologin\$|\1|p")
	[ -n "$ids" ] && getent group "$account" | grep -q ":${ids#*:}:" && getent shadow "$account" | grep -q '^[^:]*:!'
}

# Set $keys to the host keys: HOST_KEY, those in machine.conf, or ours, which are made. A
# given key gets a name by its contents, so that only machine.conf decides what is in force.
make_keys() {
	local key type given
	mkdir -p "$state"
	keys=$(print "$old" | sed -n 's/^HostKey //p')
	if [ -n "${HOST_KEY-}" ]; then
		# A secret store may have added CRs, or dropped the last newline.
		given=$(awk '{ sub(/\r$/, ""); print }' <"$HOST_KEY")
		keys="$state/ssh_host_$(print "$given" | cksum | tr ' ' -)_key"
		print "$given" | replace "$keys" 600
		ssh-keygen -y -P '' -f "$keys" >"$work/scratch.pub" || {
			rm -f "$keys"
			die "HOST_KEY=$HOST_KEY is not a private key without a passphrase"
		}
	fi
	keys=${keys:-$state/ssh_host_ed25519_key $state/ssh_host_ecdsa_key $state/ssh_host_rsa_key}
	for key in $keys; do
		[ -e "$key" ] || {
			type=${key%_key}
			rm -f "$key.new"
			ssh-keygen -q -t "${type##*_}" -N '' -C echo-shell -f "$key.new" || die "$key is gone: give HOST_KEY=file"
			replace "$key" 600 <"$key.new"
			rm "$key.new" "$key.new.pub"
		}
	done
	chown 0:0 $keys
	chmod 600 $keys
	for key in $keys; do
		ssh-keygen -y -P '' -f "$key" >"$key.pub" ||
			die "$key is no private key: remove it, for a new one, or give HOST_KEY=file"
	done
}

# Make what the server sees as its /etc, or mend it, and give guests the uid that the
# account has today. Arguments are guests to make.
make_etc() {
	local real="$state/etc"
	mkdir -p "$settings" "$real/echo-shell" "$real/ssh"
	touch "$real/passwd" "$real/utmp" "$real/ssh/moduli"
	grep -qs '^root:' "$real/shadow" ||
		{ cat "$real/shadow" 2>/dev/null || :; print 'root:*:::::::'; } | replace "$real/shadow" 600
	print 'passwd: files' 'group: files' 'shadow: files' 'hosts: files' >"$real/nsswitch.conf"
	print '127.0.0.1 localhost' '::1 localhost' >"$real/hosts"
	{ getent group root tty | sed 's/[^:]*$//' && print "$account:x:${ids#*:}:"; } | replace "$real/group" 644
	chown 0:0 "$lib" "$state" "$settings" "$real" "$real"/* "$real/ssh/moduli"
	chmod 755 "$state" "$real" "$real/echo-shell" "$real/ssh"
	chmod u+rwx,go-w "$settings" # sshd ignores a folder that it cannot read
	chmod 644 "$real/passwd" "$real/utmp" "$real/nsswitch.conf" "$real/hosts" "$real/ssh/moduli"
	chmod 600 "$real/shadow"
	# SELinux: a file that was moved here keeps its label, and sshd does not see it.
	! have restorecon || restorecon -R "$state"
	set -- $(guests) "$@"
	if [ "$isolation" = container ]; then
		guest_lines "$@" | replace_lines passwd "$@"
	else
		{
			getent passwd root sshd | sed 's|:[^:]*:\([0-9]*:[0-9]*\):.*|:x:\1::/:/usr/sbin/nologin|'
			guest_lines "$@"
		} | replace_lines passwd root sshd "$@"
	fi
}

# --- settings and addresses -------------------------------------------------

# Have sshd read its configuration where the server sees it, with more options. Set
# $addresses to those where it is to listen, and $host and $host_port to where this machine
# reaches it, by loopback and IPv4 if it can. Die if sshd refuses the settings.
read_settings() {
	[ -d /run/sshd ] || mkdir -m 755 /run/sshd # sshd wants it
	addresses=$($ask -T "$@") || die "sshd refuses the settings in $settings: see above"
	addresses=$(print "$addresses" | sed -n 's/^[Ll]isten[Aa]ddress \([^ ]*\).*/\1/p' | sort)
	set -- $(print "$addresses" | grep -e '^0\.0\.0\.0:' -e '^127\.' -e '^\[::\]:') $addresses
	host_port=${1##*:}
	host=${1%:*}
	case $host in 0.0.0.0) host=127.0.0.1 ;; '[::]') host=::1 ;; \[*) host=${host#?} && host=${host%?} ;; esac
}

# Die if another process listens on one of $addresses. This sees conflicts in which one side
# has all addresses of its kind; sshd itself reports others when it starts.
refuse_taken_port() {
	local sockets taken
	# In this order: systemd may start the server in between.
	sockets=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null) || :
	taken=$({ print "$addresses"; ls -l "/proc/$(listener)/fd" 2>/dev/null || :; print "$sockets"; } | awk '
		NF == 1 {
			port = $1
			sub(/.*:/, "", port)
			key = (/^\[/ ? 32 : 8) sprintf(":%04X", port)
			wanted[key] = port
			if (/^(0\.0\.0\.0|\[::\]):/) all[key]
		}
		/socket:\[/ { gsub(/.*\[|\].*/, ""); ours[$0] }
		$4 == "0A" && !($10 in ours) {
			split($2, at, ":")
			key = length(at[1]) ":" at[2]
			if (key in wanted && (key in all || at[1] ~ /^0+$/)) { print wanted[key]; exit }
		}')
	[ -z "$taken" ] || die "another process listens on port $taken; take another one: ${SUDO_USER:+sudo }PORT=n $0"
}

# Have a server that runs read its settings, with the rights that it has. Die if it refuses
# them; it then goes on with the old ones. Do not ask it if machine.conf is missing.
refuse_unreadable() {
	[ "$isolation" = systemd ] || return 0
	systemctl -q enable echo-shell # this loads the unit, too
	[ -n "$old" ] || return 0
	chmod 644 "$state/machine.conf"
	if ! systemctl -q try-reload-or-restart echo-shell 2>/dev/null && systemctl -q is-active echo-shell; then
		show_log /dev/null
		die "in its sandbox, the server cannot read or use the settings in $settings: see above"
	fi
}

# Put the port and the host keys in force, for the next start.
switch_settings() {
	local key
	{
		print "# setup.sh writes this. Your settings go to $settings/*.conf." "Port $port"
		for key in $keys; do print "HostKey $key"; done
	} | replace "$state/machine.conf" 644
}

# --- the server -------------------------------------------------------------

# Print the pid of the server's listener. Fail if it does not run.
listener() {
	local pid
	if [ "$isolation" = systemd ]; then
		pid=$(systemctl show -p MainPID --value echo-shell)
	else
		pid=$(cat "$pidfile" 2>/dev/null) || return
	fi
	grep -qsF "$lib/s" "/proc/$pid/cmdline" && print "$pid" # of start, then of sshd_config
}

# Become the server, by a command if one is given.
serve() {
	trap - EXIT HUP INT QUIT PIPE TERM
	exec "$@" $start "$pidfile" -D 9>&-
}

# Start the server, or start it anew: sessions go on. Fail if systemd cannot start it.
restart_server() {
	if [ "$isolation" = systemd ]; then
		systemctl restart echo-shell 2>/dev/null
	else
		wait_for kill_all listener
		(umask 077 && : >>"$logfile")
		serve setsid </dev/null >>"$logfile" 2>&1 &
	fi
}

# Print what the server has logged since this run began.
server_log() {
	if [ "$isolation" = systemd ]; then
		journalctl -q --no-pager -o cat -u echo-shell --since "@$began"
	else
		tail -c "+$((log_size + 1))" "$logfile"
	fi 2>/dev/null
}

# Print the last lines of that log, then files, on standard error.
show_log() {
	{ server_log | grep -v -e 'left-over process' -e '^This usually indicates' | tail -n 15 && cat "$@"; } | printable >&2
}

# Return whether the server could not have one of its addresses, and print sshd's words.
lost_address() { server_log | grep -e '^Bind to port .* failed: Address already' -e '^Bind to port .* failed: Permission'; }

# Print the pid and the guest of each session, and the pid and "-" of each program: processes
# with the guests' uid, but not in a container of this machine. To look at their /etc would
# take CAP_SYS_PTRACE, which few containers have.
sessions() {
	cat /proc/[0-9]*/status 2>/dev/null | awk -v "uid=${ids%:*}" '
		$1 == "Uid:" { guest = $2 == uid }
		$1 == "NSpid:" && NF == 2 && guest { print "/proc/" $2 "/cmdline" }' |
		xargs grep -as -e '^sshd[a-z-]*: ' -e '^echo-shell' /dev/null | tr '\0' '\n' |
		sed -n -e 's|^/proc/\([0-9]*\)/cmdline:sshd[^ ]* \([A-Za-z0-9._-]\{1,\}\).*|\1 \2|p' \
			-e 's|^/proc/\([0-9]*\)/cmdline:echo-shell.*|\1 -|p'
}

# Print the pids of a guest's sessions, or of all sessions and programs.
sessions_of() { sessions | awk -v "name=${1-}" 'name == "" || $2 == name { print $1 }'; }

# Run a command that prints pids and kill -9 those. Succeed only if it printed none.
kill_all() {
	local pids
	pids=$("$@") || :
	[ -z "$pids" ] || { kill -KILL $pids 2>/dev/null; false; }
}

# Call the server with ssh, which accepts no other host key than ours. Use an address of its
# own: sshd's limits count by address, and any local user can exhaust those of 127.0.0.1.
call() {
	local from="-b127.$(($$ / 62500 + 1)).$(($$ / 250 % 250 + 1)).$(($$ % 250 + 1))"
	case $host in *:*) from=-6 ;; esac
	sed 's/^/echo-shell /' "$state"/ssh_host_*.pub >"$work/scratch.known_hosts"
	SHELL=/bin/sh SSH_ASKPASS=$lib/askpass SSH_ASKPASS_REQUIRE=force ECHO_SHELL_PASSWORD=${trial-} \
		timeout 60 ssh -F none "$from" -p "$host_port" -o HostKeyAlias=echo-shell \
		-o "UserKnownHostsFile=$work/scratch.known_hosts" -o StrictHostKeyChecking=yes \
		-o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 -o ConnectTimeout=30 \
		-o LogLevel=ERROR "$@" "_trial@$host" 2>"$work/scratch.ssh" 9>&-
}

# Return whether the server answers, with our key.
server_responds() {
	call -o BatchMode=yes </dev/null || grep -q 'Permission denied' "$work/scratch.ssh"
}

# Log in as _trial by ssh -T or -tt, with more options. Return whether there was an echo.
login() {
	local answer keys="$work/scratch.keys"
	if [ "$1" = -T ]; then
		answer=$(printf setup | call "$@")
	else
		# With a terminal only the keys Enter ~ . end it, once the answer is there.
		rm -f "$keys"
		mkfifo "$keys"
		answer=$(exec 3<>"$keys" && printf setup >&3 && call "$@" <&3 | { read -r line && printf '\r~.' >&3; print "$line"; })
	fi
	[ "$answer" = "echo: 'setup'$(printf '\r')" ]
}

# Log in as a guest _trial, whose password only this run knows, without and with a terminal,
# with more options for ssh. Wait for a server that does not listen yet. If there is no
# echo, fail, and print what sshd and ssh say.
try_login() {
	local trial end tty failed=''
	trial=$(random_password)
	set_passwords "_trial:$trial"
	end=$(($(date +%s) + 10))
	for tty in -T -tt; do
		until login $tty "$@"; do
			if ! grep -q 'Connection refused' "$work/scratch.ssh" || lost_address >/dev/null || [ "$(date +%s)" -gt "$end" ]; then
				failed=$tty
				break 2
			fi
			sleep 0.1
		done
	done
	remove_guests _trial
	[ -n "$failed" ] || return 0
	show_log "$work/scratch.ssh"
	print "a login (ssh $failed) got no echo" >&2
	return 1
}

# --- the commands -----------------------------------------------------------

# Refuse what can be refused before anything is touched.
check_words() {
	case ${PORT:-1} in 0* | *[!0-9]* | ??????*) false ;; *) [ "${PORT:-1}" -le 65535 ] ;; esac || die "PORT=$PORT is not a port"
	[ -z "${HOST_KEY-}" ] || { [ -r "$HOST_KEY" ] && [ ! -d "$HOST_KEY" ]; } || die "HOST_KEY=$HOST_KEY: cannot read such a file"
	case ${PASSWORD-} in *'
'*) die "PASSWORD has more than one line" ;; esac
	check_guests "demo:${PASSWORD-none}"
	[ ! -d /var/lib/echo-shell/now ] || die "an older echo-shell is here: first run the uninstall of its own setup.sh"
	if [ "$command" = run ]; then
		[ "$isolation" != systemd ] || die "systemd runs here: $me makes a service of the server"
		! listener >/dev/null || die "the server runs already, with pid $(listener)"
	fi
}

# Install the server and start it; with "run", become it.
install_server() {
	local new='' old worked=''
	check_words
	keep_sshd_off
	if [ -z "$(guests)" ] && [ ! -e "$state/machine.conf" ]; then
		new=yes
		set -- "$state"/ssh_host_*key
		[ -e "$1" ] || [ -e "$unit" ] || first=yes
	fi
	[ "$isolation" != container ] || log "mounts are refused here: guests are accounts of this container"
	if [ "$isolation" = systemd ]; then began=$(date +%s); else log_size=$(wc -c 2>/dev/null <"$logfile") || log_size=0; fi
	get_all
	make_account
	old=$(cat "$state/machine.conf" 2>/dev/null) || :
	make_keys
	make_etc ${new:+demo}
	port=${PORT:-$(print "$old" | sed -n 's/^Port //p')}
	port=${port:-2022}
	set -- $keys
	read_settings -p "$port" -h "$1"
	refuse_taken_port
	refuse_unreadable
	switch_settings
	if [ "$command" = run ]; then
		try_login -o "ProxyCommand=$ask -i" && worked=yes
	elif restart_server; then
		try_login && worked=yes
	else
		show_log /dev/null
	fi
	if lost_address >&2 || { [ -z "$worked" ] && ! may_be_settings; }; then
		if [ -n "$old" ]; then
			print "$old" | replace "$state/machine.conf" 644
			[ "$command" = run ] || restart_server || :
		fi
		die "the server does not work: see above${old:+; the old port and keys are back};" \
			"another port: ${SUDO_USER:+sudo }PORT=n $0; a container: see README"
	fi
	show_login
	if [ "$command" = run ]; then
		rm -f "$work"/scratch.*
		serve
	fi
	[ "$isolation" = systemd ] || log "no systemd here: when this machine or container is started again, type $me"
}

# Return whether the administrator's settings may be why a login got no echo.
may_be_settings() { [ -n "$(ls "$settings")" ] && { [ "$command" = run ] || server_responds; }; }

# Print what a newcomer needs. Print the password before it is set: if this run dies in
# between, no password is in force that nobody has seen.
show_login() {
	local password="${PASSWORD-}" show="the one in PASSWORD" who=demo
	if [ -z "$password" ] && is_guest demo && ! grep -q '^demo:' "$etc/shadow"; then
		password=$(random_password)
		show="$password    # kept nowhere: note it now"
	fi
	[ -n "$password" ] || is_guest demo || who=NAME
	print "" "  log in     ssh -p $host_port $who@$host    # from elsewhere: this machine's name" \
		${password:+"  password   $show"} "  host key   $(fingerprint)" \
		"  leave      close your client (ssh: Enter ~ .)" "  remove     $me uninstall"
	if [ -n "$worked" ]; then
		print "" "echo-shell: the server is up, and a login worked"
	else
		log "a login got no echo: see above; your settings in $settings may forbid it"
	fi
	[ -z "$password" ] || set_passwords "demo:$password"
	first=
}

# Print the fingerprint of the key that ssh asks for first.
fingerprint() {
	set -- $(sed -n 's/^HostKey //p' "$state/machine.conf")
	set -- $(ssh-keygen -lf "$1.pub")
	print "$2"
}

# Die unless a server is installed.
need_server() {
	[ -e "$state/machine.conf" ] || die "no echo server is installed here, or not all of it: $me"
	find_ids || die "the account $account is gone or was changed: $me"
}

# Make guests, by name, or with - from lines of name:password on stdin.
add_users() {
	local lines name
	if [ "$*" = - ]; then
		lines=$(cat)
	else
		case $* in *:*) die "names come without a password; see $0 --help" ;; esac
		lines=$(for name; do print "$name:$(random_password)"; done)
	fi
	check_guests "$lines"
	if [ "$*" = - ]; then print "$lines" | cut -d : -f 1; else print "$lines"; fi
	set_passwords "$lines"
}

# Remove guests and end their sessions. Fail if one was not here.
remove_users() {
	local name absent=''
	for name; do
		if is_guest "$name"; then
			remove_guests "$name"
			wait_for kill_all sessions_of "$name" || die "cannot end the sessions of $name"
			log "$name is removed, and the sessions are ended"
		else
			absent="$absent $name"
		fi
	done
	[ -z "$absent" ] || die "no such guest:$absent"
}

# Print what is here and who is on. Fail if something is wrong.
status() {
	local pid wrong=''
	read_settings
	if ! pid=$(listener); then
		wrong="down"
	elif [ ! "/proc/$pid/exe" -ef "$sshd" ]; then
		wrong="up, but OpenSSH was replaced since"
	elif ! server_responds; then
		wrong="up, but does not answer with our key"
	elif [ "$isolation" = systemd ] && ! systemctl -q is-enabled echo-shell; then
		wrong="up, but does not start at boot"
	fi
	print "  server     ${wrong:-up}" "  listens    $(print "$addresses" | paste -s -d ' ' -)" "  host key   $(fingerprint)"
	{ guests && sessions; } | awk '
		NF == 1 && $1 != "_trial" { guest[++n] = $1 }
		NF == 2 { connected[$2]++ }
		END { for (i = 1; i <= n; i++) printf "  guest      %s, %d connected\n", guest[i], connected[guest[i]] }'
	[ -z "$wrong" ] || die "the server is $wrong: $me"
}

# Remove all that is ours, or what is left of it, but for the administrator's settings.
remove_all() {
	find_ids || :
	if [ "$isolation" = systemd ]; then
		systemctl -q stop echo-shell 2>/dev/null || :
		systemctl -q disable echo-shell 2>/dev/null || :
		systemctl kill -s KILL echo-shell 2>/dev/null || : # sessions outlive a stop
	else
		wait_for kill_all listener
	fi
	[ -z "$ids" ] || wait_for kill_all sessions_of || die "cannot end all sessions"
	[ "$isolation" != container ] || remove_guests $(guests)
	# A failed run may have found the product in an image. Another sshd's account may have
	# the program as its shell.
	if [ -z "$first" ] || [ -n "$product_is_new" ]; then
		rm -rf "$lib" "$unit" "$unit.new"
		grep -q ":$program\$" /etc/passwd || [ -e /usr/local/share/echo-shell ] || rm -f "$program"
	fi
	rm -rf "${state:?}/etc" "$state"/ssh_host_* "$state"/machine.conf* "$logfile" "$pidfile"
	rmdir "$settings" "$state" "${unit%/*}" "${unit%/*/*}" 2>/dev/null || :
	[ "$isolation" != systemd ] || systemctl daemon-reload
	if find_ids && ! userdel "$account" 2>/dev/null; then
		log "the account $account stays: a process has its uid; later: userdel $account"
	fi
	getent passwd "$account" >/dev/null || ! is_empty_group || groupdel "$account"
}

uninstall() {
	keep_sshd_off
	remove_all
	log "nothing of the server is here any more, and all sessions are ended"
	[ ! -d "$state" ] || log "only your settings are kept: $settings"
}

main() {
	command=${1-}
	case $command in
	-h | --help) exec sed -n 's/^#   \(.*\)/\1/p; /^# The product/q' "$0" ;;
	--version)
		sed -n 's/^VERSION = /echo-shell /p; s/^Description=\(echo-shell [^,]*\),.*/\1/p' "$here/Makefile" "$unit" 2>/dev/null | sed 1q
		return
		;;
	esac
	case $command:$# in
	:0 | run:1 | status:1 | uninstall:1 | test:*) ;;
	add-user:1 | remove-user:1) die "$command wants names; see $0 --help" ;;
	add-user:* | remove-user:*) ;;
	*) die "no such command: $*; see $0 --help" ;;
	esac
	if [ "$(id -u)" = 0 ]; then
		acquire_lock
		find_isolation
	elif [ "$command" = run ]; then
		die "run needs root, and this container's user is $(id -u): use --user 0"
	elif [ "$command" != test ]; then
		die "must be run as root: sudo $0${*:+ $*}"
	fi
	[ $# = 0 ] || shift
	case $command in
	'' | run) install_server ;;
	add-user) need_server && add_users "$@" ;;
	remove-user) need_server && remove_users "$@" ;;
	status) need_server && status ;;
	uninstall) uninstall ;;
	test)
		set -- "$(missing make:make bats:bats shellcheck:shellcheck)$(can_compile || print " gcc libc6-dev libcrypt-dev")" "$@"
		[ -z "$1" ] || install_packages $1
		shift
		trap - EXIT HUP INT QUIT PIPE TERM
		exec "$here/tests/run" "$@" 9>&-
		;;
	esac
}

# The tests use functions of this file.
[ -n "${ECHO_SHELL_FUNCTIONS-}" ] || main "$@"
