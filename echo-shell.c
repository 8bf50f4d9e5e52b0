/* SPDX-License-Identifier: ISC */
/*
 * echo-shell answers each read() with one line: "echo: ", the bytes as Python
 * 2's repr() writes them, CR LF. sshd runs it as ForceCommand and login shell.
 */
#define _GNU_SOURCE /* strerrordesc_np() */
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* From glibc 2.41 on strerror() allocates. In other C libraries both macros are 0. */
#if __GLIBC__ * 100 + __GLIBC_MINOR__ >= 232
#define strerror strerrordesc_np
#endif

#define NAME "echo-shell"
#define HEAD "echo: "
#define TAIL "\r\n"
#define CHUNK 65536 /* the most that one read() takes */

static unsigned char chunk[CHUNK];
static char line[4 * CHUNK + 256]; /* the longest repr, and what stands around it */
static struct termios cooked;      /* the terminal as we found it */
static int tty;                    /* stdin is a terminal */
static int local;                  /* ... at which somebody ran us by hand */

/* Write repr(bytes) to out, at most 4 * n + 2 chars; return how many. */
static size_t
repr(char *out, const unsigned char *bytes, size_t n)
{
	const int quote = memchr(bytes, '\'', n) != NULL &&
	    memchr(bytes, '"', n) == NULL ? '"' : '\'';
	char *p = out;
	unsigned char c;

	*p++ = (char)quote;
	for (; n > 0; n--) {
		c = *bytes++;
		if (c < ' ' || c > '~' || c == quote || c == '\\')
			*p++ = '\\';
		if (c >= ' ' && c <= '~')
			*p++ = (char)c;
		else if (c == '\t' || c == '\n' || c == '\r')
			*p++ = c == '\t' ? 't' : c == '\n' ? 'n' : 'r';
		else {
			*p++ = 'x';
			*p++ = "0123456789abcdef"[c >> 4];
			*p++ = "0123456789abcdef"[c & 15];
		}
	}
	*p++ = (char)quote;
	return (size_t)(p - out);
}

/* Write n bytes. Return 0, or -1 with errno set. */
static int
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		const ssize_t w = write(fd, p, n);

		if (w == -1 && errno == EINTR)
			continue;
		if (w == 0)
			errno = EIO; /* or we would try again for ever */
		if (w <= 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/*
 * Restore the terminal and exit. Not by exit(3): a signal handler may not call
 * it, and the sandbox may not let it work.
 */
static _Noreturn void
leave(int status)
{
	if (local)
		while (tcsetattr(STDIN_FILENO, TCSADRAIN, &cooked) == -1 &&
		    errno == EINTR)
			;
	_exit(status);
}

static _Noreturn void
leave_on(int sig)
{
	leave(128 + sig); /* a shell's status for it */
}

/* Print what failed and why, without asking for memory, and leave. */
static _Noreturn void
fail(const char *what)
{
	const char *const why = strerror(errno);
	const char *const end = stpcpy(stpcpy(stpcpy(stpcpy(stpcpy(line,
	    NAME ": "), what), ": "), why != NULL ? why : "unknown error"),
	    local ? "\r\n" : "\n");

	write_all(STDERR_FILENO, line, (size_t)(end - line));
	leave(1);
}

/*
 * Return whether a login shell's -c names this program, by any path, perhaps
 * after "exec". It is compared and never run.
 */
static int
names_this_program(const char *command)
{
	const char *const base = strrchr(command, '/');

	if (strncmp(command, "exec ", 5) == 0)
		command += 5;
	return strcmp(base != NULL ? base + 1 : command, NAME) == 0 &&
	    strpbrk(command, " \t\n\"'`$&;|<>()\\") == NULL;
}

/*
 * Put stdin in raw mode if it is a terminal. What was typed already is kept (never
 * TCSAFLUSH). What sshd starts has SSH_CONNECTION and is in the process group of the
 * session leader; anything else was run by hand. Then say how to leave, and leave on
 * the usual signals.
 */
static void
raw_mode(void)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM };
	const struct sigaction action = { .sa_handler = leave_on };

	if (tcgetattr(STDIN_FILENO, &cooked) == -1) {
		if (errno == ENOTTY || errno == EINVAL) /* as of /dev/urandom */
			return;
		err(1, "standard input");
	}
	tty = 1;
	local = getenv("SSH_CONNECTION") == NULL ||
	    (tcgetpgrp(STDIN_FILENO) == getpgrp() && getpgrp() != getsid(0));
	if (local) {
		warnx("Ctrl-D leaves");
		for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
			sigaction(ends[i], &action, NULL);
	}
	struct termios raw = cooked;
	cfmakeraw(&raw);
	while (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == -1)
		if (errno != EINTR)
			err(1, "raw mode on standard input");
}

/*
 * Allow only read on 0, write on 1 and 2, and exit; by hand ioctl on 0 too, to
 * restore the terminal. Any other system call kills the process. A kernel without
 * seccomp (EINVAL) is no error, as with OpenSSH.
 */
static void
sandbox(void)
{
#ifndef NO_SANDBOX /* for sanitizers, which make system calls of their own */
#define FIELD(f) offsetof(struct seccomp_data, f)
#define FD (FIELD(args[0]) + 4 * (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define IF(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##what)
#define ALLOW(call) LOAD(FIELD(nr)), IF(call, 0, 1), RETURN(ALLOW)
#define ALLOW_ON(fd, call) \
	LOAD(FIELD(nr)), IF(call, 0, 3), LOAD(FD), IF(fd, 0, 1), RETURN(ALLOW)
	/* The kernel makes AUDIT_ARCH_* from the same three parts. */
	extern const ElfW(Ehdr) __ehdr_start;
	const unsigned arch = __ehdr_start.e_machine |
	    (sizeof(long) == 8 ? __AUDIT_ARCH_64BIT : 0) |
	    (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __AUDIT_ARCH_LE : 0);
	struct sock_filter rules[] = {
		LOAD(FIELD(arch)), IF(arch, 1, 0), RETURN(KILL_PROCESS),
		ALLOW_ON(0, SYS_read), ALLOW_ON(1, SYS_write), ALLOW_ON(2, SYS_write),
		ALLOW_ON(0, local ? SYS_ioctl : SYS_read),
		ALLOW(SYS_exit_group), RETURN(KILL_PROCESS),
	};
	const struct sock_fprog filter = { sizeof(rules) / sizeof(*rules), rules };

	/* No other session of this account may read or write our memory. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if ((prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1) &&
	    errno != EINVAL)
		fail("sandbox");
#endif
}

/*
 * Answer each read with one line until the input ends: at 0 bytes, and on a
 * terminal that was hung up with EIO. By hand, a lone Ctrl-D ends it too.
 */
static _Noreturn void
serve(void)
{
	char *const start = stpcpy(line, HEAD);
	ssize_t n;

	do {
		while ((n = read(STDIN_FILENO, chunk, CHUNK)) == -1 && errno == EINTR)
			;
		if (n == 0 || (n == -1 && errno == EIO && tty))
			leave(0);
		if (n == -1)
			fail("standard input");
		char *const end = stpcpy(start + repr(start, chunk, (size_t)n), TAIL);
		if (write_all(STDOUT_FILENO, line, (size_t)(end - line)) == -1)
			fail("standard output");
	} while (!(local && n == 1 && chunk[0] == 4 /* Ctrl-D */));
	leave(0);
}

int
main(int argc, char *argv[])
{
	const char *command = getenv("SSH_ORIGINAL_COMMAND");

	if (argc > 1 && (argc != 3 || strcmp(argv[1], "-c") != 0))
		errx(2, "usage: " NAME " [-c command]");
	if (command == NULL && argc == 3 && !names_this_program(argv[2]))
		command = argv[2];
	if (command != NULL) {
		line[repr(line, (const unsigned char *)command,
		    strnlen(command, CHUNK))] = '\0'; /* a longer one is cut */
		errx(1, "refused %s: this account only echoes;"
		    " run ssh without a command", line);
	}
	for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++) {
		const int flags = fcntl(fd, F_GETFL);

		if (flags == -1 || ((flags & O_NONBLOCK) &&
		    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == -1))
			err(1, fd == STDIN_FILENO ? "standard input" : "standard output");
	}
	raw_mode();
	sandbox();
	serve();
}
