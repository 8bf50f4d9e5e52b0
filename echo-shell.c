/* SPDX-License-Identifier: ISC */
/*
 * echo-shell answers each read() with one line: "echo: ", the bytes as Python
 * 2's repr() writes them, CR LF. sshd runs it as ForceCommand and login shell.
 */
#define _GNU_SOURCE /* POSIX and strerrordesc_np(); elsewhere all is visible */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#if defined(__FreeBSD__)
#include <sys/capsicum.h>
#elif defined(__linux__) && !defined(NO_SANDBOX) /* sanitizers define it */
#if __has_include(<linux/seccomp.h>)
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#define SECCOMP
#else
#pragma message("linux/seccomp.h is missing: the sandbox is left out")
#endif
#endif

#define NAME "echo-shell"
#define HEAD "echo: "
#define TAIL "\r\n"
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
#define strerror strerrordesc_np /* strerror() may ask for memory */
#endif
#endif

enum { CHUNK = 65536 /* the most that one read() takes */, CTRL_D = 4 };

static unsigned char chunk[CHUNK];
static char line[4 * CHUNK + 256]; /* a repr, and what stands around it */
static struct termios cooked;      /* the terminal as we found it */
static int local;                  /* run by hand at a terminal, not by sshd */

static_assert(sizeof(line) >= sizeof(HEAD) + 4 * CHUNK + 2 + sizeof(TAIL),
    "the longest answer must fit");

/* How each byte is written: in four chars, of which only size[] count. repr() sets '. */
#define X16(n) n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n
#define HEX(h) "\\x" h "0\\x" h "1\\x" h "2\\x" h "3\\x" h "4\\x" h "5\\x" h "6\\x" h \
	"7\\x" h "8\\x" h "9\\x" h "a\\x" h "b\\x" h "c\\x" h "d\\x" h "e\\x" h "f"
static char text[] =
    "\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\t\\t\\n\\n\\x0b\\x0c\\r\\r\\x0e\\x0f"
    HEX("1") "    !!!!\"\"\"\"####$$$$%%%%&&&&''''(((())))****++++,,,,----....////"
    "0000111122223333444455556666777788889999::::;;;;<<<<====>>>>????"
    "@@@@AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKKKLLLLMMMMNNNNOOOO"
    "PPPPQQQQRRRRSSSSTTTTUUUUVVVVWWWWXXXXYYYYZZZZ[[[[\\\\\\\\]]]]^^^^____"
    "````aaaabbbbccccddddeeeeffffgggghhhhiiiijjjjkkkkllllmmmmnnnnoooo"
    "ppppqqqqrrrrssssttttuuuuvvvvwwwwxxxxyyyyzzzz{{{{||||}}}}~~~~\\x7f"
    HEX("8") HEX("9") HEX("a") HEX("b") HEX("c") HEX("d") HEX("e") HEX("f");
static unsigned char size[] = {
	4, 4, 4, 4, 4, 4, 4, 4, 4, 2, 2, 4, 4, 2, 4, 4, X16(4),
	X16(1), X16(1), X16(1), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1,
	X16(1), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4,
	X16(4), X16(4), X16(4), X16(4), X16(4), X16(4), X16(4), X16(4),
};
static_assert(sizeof(text) == 256 * 4 + 1 && sizeof(size) == 256, "one for each byte");

/*
 * Takes n bytes; gives whether their repr is they themselves between quotes. Without
 * an early end, || or an if, for compilers make vector instructions of that. One up
 * and as a signed char, all that is not printable is at most ' '.
 */
static int
is_plain(const unsigned char *bytes, size_t n)
{
	unsigned char odd = 0;

	for (size_t i = 0; i < n; i++)
		odd = (unsigned char)(odd | ((signed char)(bytes[i] + 1) <= ' ') |
		    (bytes[i] == '\\') | (bytes[i] == '\''));
	return !odd;
}

/*
 * Takes n bytes and writes their repr, as Python 2.7 has it, to out, no NUL; sets
 * text[] and size[] for it. Gives its length, at most 4 * n + 2. Cannot fail.
 */
static size_t
repr(char *out, const unsigned char *bytes, size_t n)
{
	const char quote = memchr(bytes, '\'', n) != NULL &&
	    memchr(bytes, '"', n) == NULL ? '"' : '\'';
	char *p = out;

	text[4 * '\''] = quote == '"' ? '\'' : '\\';
	size['\''] = quote == '"' ? 1 : 2;
	*p++ = quote;
	for (size_t i = 0; i < n; i++) {
		memcpy(p, text + 4 * bytes[i], 4); /* always four: no branch */
		p += size[bytes[i]];
	}
	*p++ = quote;
	return (size_t)(p - out);
}

/*
 * Takes n bytes for fd: one write(), more only where the kernel takes fewer.
 * Gives 0, or -1 with errno set.
 */
static int
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		const ssize_t w = write(fd, p, n);

		if (w == -1 && errno == EINTR)
			continue;
		if (w == 0)
			errno = EIO; /* a write that takes nothing would spin */
		if (w <= 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/*
 * Takes an exit status; ends the program, the terminal as we found it. Not by
 * exit(): a signal handler may not, and the sandbox might not let it.
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

/* Takes a signal that ends the program; leaves with a shell's status for it. */
static _Noreturn void
leave_on(int sig)
{
	leave(128 + sig);
}

/*
 * Takes a status, what failed, a command to quote or NULL (a long one is cut to
 * what a read would take), and why; says so in one line on stderr and leaves.
 */
static _Noreturn void
fail(int status, const char *what, const char *command, const char *why)
{
	char *p = stpcpy(stpcpy(line, NAME ": "), what);

	if (command != NULL)
		p += repr(p, (const unsigned char *)command,
		    strnlen(command, CHUNK));
	p = stpcpy(stpcpy(stpcpy(p, ": "), why), local ? "\r\n" : "\n");
	write_all(STDERR_FILENO, line, (size_t)(p - line));
	leave(status);
}

/*
 * Takes what a login shell was given after -c. Gives whether it names this
 * program, by any path; it is compared only, never run.
 */
static int
names_this_program(const char *command)
{
	const char *base;

	if (strncmp(command, "exec ", 5) == 0)
		command += 5;
	base = strrchr(command, '/');
	return strcmp(base != NULL ? base + 1 : command, NAME) == 0 &&
	    strpbrk(command, " \t\n\"'`$&;|<>()\\") == NULL;
}

/*
 * Puts stdin, if it is a terminal, in raw mode; what was typed early stays
 * (never TCSAFLUSH). By hand, outside SSH, says how to leave, and has signals
 * put the terminal back. Gives whether stdin is a terminal; else fails.
 */
static int
raw_mode(void)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGALRM, SIGPIPE,
		SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ };
	static const char hint[] = NAME ": Ctrl-D leaves\n";
	const struct sigaction action = { .sa_handler = leave_on };
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &cooked) == -1) {
		if (errno == ENOTTY || errno == EINVAL) /* /dev/urandom's */
			return 0;
		fail(1, "standard input", NULL, strerror(errno));
	}
	if (getenv("SSH_CONNECTION") == NULL) {
		local = 1;
		for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
			sigaction(ends[i], &action, NULL);
		write_all(STDERR_FILENO, hint, sizeof(hint) - 1);
	}
	raw = cooked;
	/* Not flag by flag: a client may have set IUCLC, PARMRK or EXTPROC. */
	raw.c_iflag = raw.c_oflag = raw.c_lflag = 0;
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	while (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == -1)
		if (errno != EINTR)
			fail(1, "raw mode on standard input", NULL, strerror(errno));
	return 1;
}

/*
 * Gives up all but reading 0, writing 1 and 2, and ending, for good. A kernel
 * that has no such thing is no error, as with OpenSSH; any other refusal fails.
 */
static void
sandbox(void)
{
#if defined(SECCOMP)
#define FIELD(f) offsetof(struct seccomp_data, f)
#define FD (FIELD(args[0]) + 4 * (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define IF(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	/* AUDIT_ARCH_* is made this way from what this program was built for. */
	extern const ElfW(Ehdr) __ehdr_start;
	const unsigned arch = __ehdr_start.e_machine |
	    (sizeof(long) == 8 ? __AUDIT_ARCH_64BIT : 0) |
	    (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __AUDIT_ARCH_LE : 0);
	struct sock_filter rules[] = {
		LOAD(FIELD(arch)), IF(arch, 1, 0), KILL, LOAD(FIELD(nr)),
		IF(SYS_read, 0, 4), LOAD(FD), IF(0, 0, 1), ALLOW, KILL,
		IF(SYS_write, 0, 5), LOAD(FD), IF(1, 1, 0), IF(2, 0, 1), ALLOW, KILL,
		/* By hand only: tcsetattr(), whichever ioctl libc makes of it. */
		IF(local ? SYS_ioctl : SYS_read, 0, 4), LOAD(FD), IF(0, 0, 1), ALLOW, KILL,
		IF(SYS_exit, 0, 1), ALLOW, IF(SYS_exit_group, 0, 1), ALLOW,
#ifdef SYS_sigreturn
		IF(SYS_sigreturn, 0, 1), ALLOW,
#endif
		IF(SYS_rt_sigreturn, 0, 1), ALLOW, KILL,
	};
	const struct sock_fprog filter = { sizeof(rules) / sizeof(*rules), rules };

	if ((prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1) &&
	    errno != EINVAL)
		fail(1, "sandbox", NULL, strerror(errno));
#elif defined(__OpenBSD__)
	if (pledge(local ? "stdio tty" : "stdio", NULL) == -1)
		fail(1, "pledge", NULL, strerror(errno));
#elif defined(__FreeBSD__)
	if (cap_enter() == -1 && errno != ENOSYS)
		fail(1, "cap_enter", NULL, strerror(errno));
#endif
}

/*
 * Takes the n bytes that were read to out + 1, and makes their repr of them at out.
 * Plain bytes, which are there already, are not copied. Gives its length.
 */
static size_t
repr_in_place(char *out, size_t n)
{
	const unsigned char *const bytes = (unsigned char *)out + 1;

	if (is_plain(bytes, n)) {
		out[0] = out[n + 1] = '\'';
		return n + 2;
	}
	memcpy(chunk, bytes, n);
	return repr(out, chunk, n);
}

/*
 * Answers each read with one line until the input ends, as it does with EIO
 * where stdin is a tty that was hung up. By hand, a lone Ctrl-D ends it too.
 */
static _Noreturn void
serve(int tty)
{
	char *const start = stpcpy(line, HEAD);

	for (;;) {
		const ssize_t n = read(STDIN_FILENO, start + 1, CHUNK);
		char *end;
		int last;

		if (n == -1 && errno == EINTR)
			continue;
		if (n == 0 || (n == -1 && errno == EIO && tty))
			leave(0);
		if (n == -1)
			fail(1, "standard input", NULL, strerror(errno));
		last = local && n == 1 && start[1] == CTRL_D;
		end = stpcpy(start + repr_in_place(start, (size_t)n), TAIL);
		if (write_all(STDOUT_FILENO, line, (size_t)(end - line)) == -1)
			fail(1, "standard output", NULL, strerror(errno));
		if (last)
			leave(0);
	}
}

int
main(int argc, char *argv[])
{
	const char *command = getenv("SSH_ORIGINAL_COMMAND");
	int tty;

	if (argc > 1 && (argc != 3 || strcmp(argv[1], "-c") != 0))
		fail(2, "usage", NULL, NAME " [-c command]");
	if (command == NULL && argc == 3 && !names_this_program(argv[2]))
		command = argv[2];
	if (command != NULL)
		fail(1, "refused ", command,
		    "this account only echoes; run ssh without a command");
	tty = raw_mode();
	for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++) {
		const int flags = fcntl(fd, F_GETFL);

		if (flags == -1 || ((flags & O_NONBLOCK) &&
		    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == -1))
			fail(1, fd == STDIN_FILENO ? "standard input" :
			    "standard output", NULL, strerror(errno));
	}
	sandbox();
	serve(tty);
}
