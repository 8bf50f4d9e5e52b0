/* SPDX-License-Identifier: ISC */
/*
 * echo-shell answers each read() with one line: "echo: ", the bytes as Python
 * 2's repr() writes them, CR LF. sshd runs it as ForceCommand and login shell.
 */
#define _DEFAULT_SOURCE 1 /* cfmakeraw() */
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <err.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define HEAD "echo: "
#define TAIL "\r\n"

static unsigned char chunk[65536];
static char line[4 * sizeof(chunk) + sizeof(HEAD "''" TAIL)];

/* Write repr(bytes) to out, at most 4 * n + 2 chars. Return how many. */
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

/*
 * Answer each read with a line. Return 0 at the end of input, if ctrl_d is set
 * also after a lone Ctrl-D, and 1 if a read or a write fails.
 */
static int
serve(int tty, int ctrl_d)
{
	char *const start = stpcpy(line, HEAD), *end, *p;
	ssize_t n, w;

	do {
		n = read(STDIN_FILENO, chunk, sizeof(chunk));
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) /* a terminal that was hung up may give EIO */
			return n == 0 || (tty && errno == EIO) ? 0 : 1;
		end = stpcpy(start + repr(start, chunk, (size_t)n), TAIL);
		for (p = line; p < end; p += w > 0 ? w : 0) {
			w = write(STDOUT_FILENO, p, (size_t)(end - p));
			if (w == 0 || (w == -1 && errno != EINTR))
				return 1;
		}
	} while (!ctrl_d || n != 1 || chunk[0] != 4);
	return 0;
}

#if defined(__x86_64__) /* x32, too: only the numbers of its calls differ */
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__)
#define ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#else
#error "define ARCH as this processor's AUDIT_ARCH_*, then run tests/sandbox"
#endif

#define FIELD(f) offsetof(struct seccomp_data, f)
/* A file descriptor is the low half of its call's first argument. */
#define FD (FIELD(args) + 4 * (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##what)
#define IF(k, ...) /* skip these rules unless the value loaded is k */ \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, \
    sizeof((struct sock_filter[]){ __VA_ARGS__ }) / \
    sizeof(struct sock_filter)), __VA_ARGS__
#define ALLOW(call, fd) \
    LOAD(FIELD(nr)), IF(call, LOAD(FD), IF(fd, RETURN(ALLOW)))

/*
 * Allow only read on 0, write on 1 and 2, and exit: any other call kills the
 * process. Exit with status 1 if it fails, unless the kernel has no seccomp.
 */
static void
sandbox(void)
{
	struct sock_filter rules[] = {
		LOAD(FIELD(arch)), IF(ARCH,
		    ALLOW(SYS_read, 0),
		    ALLOW(SYS_write, 1),
		    ALLOW(SYS_write, 2),
		    LOAD(FIELD(nr)), IF(SYS_exit_group, RETURN(ALLOW))),
		RETURN(KILL_PROCESS),
	};
	struct sock_fprog filter = { sizeof(rules) / sizeof(*rules), rules };

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* guests share a uid */
	if ((prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1) &&
	    errno != EINVAL)
		err(1, "sandbox");
}

/* Return whether we lead a session whose terminal, if any, is $SSH_TTY. */
static int
started_by_sshd(int tty)
{
	const char *name = ttyname(STDIN_FILENO), *ssh_tty = getenv("SSH_TTY");

	return getsid(0) == getpid() && (!tty ||
	    (name != NULL && ssh_tty != NULL && strcmp(name, ssh_tty) == 0));
}

/*
 * Quote the command on stderr and exit with status 1, if it is a client's or if
 * the one from -c does not name us. Return otherwise.
 */
static void
refuse_commands(const char *client, const char *command)
{
	const char *slash = strrchr(command, '/');

	if (client != NULL)
		command = client;
	else if (strcmp(slash != NULL ? slash + 1 : command, "echo-shell") == 0)
		return;
	line[repr(line, (const unsigned char *)command,
	    strnlen(command, sizeof(chunk)))] = '\0';
	errx(1, "refused %s: this account only echoes; run ssh without "
	    "a command%s", line, isatty(STDERR_FILENO) ? "\r" : "");
}

int
main(int argc, char *argv[])
{
	struct termios modes, raw;
	const int tty = tcgetattr(STDIN_FILENO, &modes) == 0;
	const int by_sshd = started_by_sshd(tty), by_hand = tty && !by_sshd;
	int status;

	if (argc > 1 && (argc != 3 || strcmp(argv[1], "-c") != 0))
		errx(2, "usage: echo-shell [-c command]");
	refuse_commands(by_sshd ? getenv("SSH_ORIGINAL_COMMAND") : NULL,
	    argc > 1 ? argv[2] : "echo-shell");
	if (by_hand)
		warnx("Ctrl-D leaves");
	if (tty) {
		raw = modes;
		cfmakeraw(&raw);
		if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == -1)
			err(1, "raw mode");
	}
	if (!by_hand)
		sandbox();
	status = serve(tty, by_hand);
	if (by_hand)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &modes);
	_exit(status);
}
