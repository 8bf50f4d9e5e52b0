/* SPDX-License-Identifier: ISC */
/*
 * talk -s|-u|-p|-t MODE PROGRAM [ARGUMENT...]
 *
 * Run PROGRAM, send it bytes and accept nothing but the lines that answer them.
 * Exit 1 and show both if an answer is wrong. Without a pty, PROGRAM must also
 * leave with status 0 at the end of its input.
 *
 * -s  over SOCK_SEQPACKET: a send is one read(), one write() must be one line
 * -u  over a stream socket
 * -p  over a new pty, in its cooked modes; PROGRAM leads the session on it
 * -t  as -u, to an "ssh -tt": wait first for the answer to a key; kill it after
 *
 * It gives up after LIMIT seconds without an answer. PROGRAM ends with it.
 *
 * table   lines of hex, tab, repr from stdin; for a repr, "any" allows all the
 *         lines that give the bytes back, and "end" none: PROGRAM must leave
 * pairs   every pair of bytes
 * sizes   around every boundary, each of printable, unprintable and mixed bytes
 * random  2,000 chunks of up to 8 KiB, always the same
 * keep    a line every tenth of a second, until stdin ends or has something
 * start, keys, bulk   with -t: print the ms from the start to the first answer,
 *         the us to each of 500 answers to a key, the MB/s of 8 MiB of text
 */
#define _XOPEN_SOURCE 700
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "echo: " /* what the program calls HEAD */
#define HEADLEN (sizeof(PREFIX) - 1)

enum { CHUNK = 65536, LONGEST = 4 * CHUNK + 64 };

static char transport; /* 's', 'u', 'p' or 't' */
static int conn; /* our end */
static pid_t child;
static char line[LONGEST]; /* what came and was not looked at yet */
static const char *sent = "", *next; /* what was not answered, not sent yet */
static size_t have, sent_n, next_n, most = LONGEST; /* the most in one write */
static double begun;
static int limit = 60; /* seconds */

/* Print a name and 80 bytes of s from around at, unprintable ones as \xNN. */
static void
show(const char *name, const char *s, size_t n, size_t at)
{
	size_t i = at > 30 ? at - 30 : 0;
	const size_t end = n > i + 80 ? i + 80 : n;

	for (fputs(name, stderr); i < end; i++)
		fprintf(stderr, s[i] >= ' ' && s[i] <= '~' ? "%c" : "\\x%02x",
		    (unsigned char)s[i]);
	fputc('\n', stderr);
}

/*
 * Decode one answer by a reading of Python's rules that shares nothing with the
 * program's. Store the bytes and their number. Return NULL if it is the only
 * spelling that repr has for them, or else what should be there instead of what
 * is at offset *at.
 */
static const char *
decode(const char *s, size_t n, unsigned char *to, size_t *len, size_t *at)
{
	static const char digits[] = "0123456789abcdef";
	size_t i = HEADLEN + 1, escaped = 0, singles = 0, doubles = 0;
	const size_t end = n - 3; /* the closing quote */
	const char *hi, *lo;
	int c, quote;

	*at = *len = 0;
	if (n < HEADLEN + 4 || memcmp(s, PREFIX, HEADLEN) != 0)
		return "\"" PREFIX "\" and a repr";
	*at = end;
	quote = s[HEADLEN];
	if ((quote != '\'' && quote != '"') || s[end] != quote ||
	    memcmp(s + end + 1, "\r\n", 2) != 0)
		return "the quote that began the repr, CR LF";
	for (; i < end; to[(*len)++] = (unsigned char)c) {
		c = (unsigned char)s[*at = i++];
		if (c < ' ' || c > '~' || c == quote)
			return "an escape";
		if (c == '\\' && (c = s[i++]) == 'x') {
			hi = memchr(digits, s[i++], 16);
			lo = memchr(digits, s[i++], 16);
			if (hi == NULL || lo == NULL)
				return "two lower case hex digits";
			c = (int)((hi - digits) * 16 + (lo - digits));
			if ((c >= ' ' && c <= '~') || memchr("\t\n\r", c, 3))
				return "the shorter form of this byte";
		} else if (s[*at] == '\\') {
			escaped += c == quote;
			if (memchr("tnr", c, 3))
				c = c == 't' ? '\t' : c == 'n' ? '\n' : '\r';
			else if (c != quote && c != '\\')
				return "an escape that Python has";
		}
		singles += c == '\'';
		doubles += c == '"';
	}
	if (i != end)
		return "an escape that ends before the quote";
	*at = HEADLEN;
	if (quote == '"' ? doubles || !singles : singles && !doubles)
		return "the other quote";
	if (escaped != (quote == '\'' ? singles : 0))
		return "no escape for the quote that is not in use";
	return NULL;
}

/* Say what was sent, expected and received, from around an offset; exit. */
static _Noreturn void
wrong(size_t sent_at, const char *expected, size_t n, size_t at)
{
	show("sent:     ", sent, sent_n, sent_at);
	show("expected: ", expected, strlen(expected), at);
	show("came:     ", line, n, at);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Start the program at the other end of the transport. */
static void
start(char *argv[])
{
	int i, pair[2], size = 212992; /* doubled by Linux: one line must fit */

	begun = now();
	if (transport != 'p') {
		if (socketpair(AF_UNIX, transport == 's' ? SOCK_SEQPACKET :
		    SOCK_STREAM, 0, pair) == -1)
			err(1, "socketpair");
		setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	} else if ((pair[0] = posix_openpt(O_RDWR | O_NOCTTY)) == -1 ||
	    grantpt(pair[0]) == -1 || unlockpt(pair[0]) == -1 ||
	    (pair[1] = open(ptsname(pair[0]), O_RDWR | O_NOCTTY)) == -1)
		err(1, "pty");
	if ((child = fork()) == -1)
		err(1, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 1; i < 32; i++) /* nohup, a CI runner may ignore some */
			signal(i, SIG_DFL);
		if (transport == 'p') {
			setsid();
			close(open(ptsname(pair[0]), O_RDWR)); /* controls it */
		}
		close(pair[0]);
		dup2(pair[1], 0);
		dup2(pair[1], 1);
		close(pair[1]);
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	close(pair[1]);
	conn = pair[0];
	fcntl(conn, F_SETFL, O_NONBLOCK);
}

/* Send and receive once. Return 0 at the end, as a pty says it or a socket. */
static int
exchange(void)
{
	struct pollfd p = { conn, next_n > 0 ? POLLIN | POLLOUT : POLLIN, 0 };
	ssize_t n;

	if (poll(&p, 1, limit * 1000) == 0)
		wrong(0, "an answer in time", have, 0);
	if ((p.revents & POLLOUT) &&
	    (n = write(conn, next, next_n < most ? next_n : most)) > 0) {
		next += n;
		next_n -= (size_t)n;
	}
	n = read(conn, line + have, sizeof(line) - have);
	if (n <= 0)
		return n == -1 && errno == EAGAIN;
	if (transport == 's' && (have > 0 || n < 2 || line[n - 2] != '\r'))
		wrong(0, "one line in one write()", (size_t)n, (size_t)n);
	have += (size_t)n;
	return 1;
}

/* Send bytes; read lines until they answer all of them, and nothing more. */
static void
talk(const char *bytes, size_t n, const char *expected)
{
	static unsigned char got[LONGEST];
	const char *nl, *why;
	size_t i, len, at;

	sent = next = bytes;
	sent_n = next_n = n;
	while (sent_n > 0) {
		if ((nl = memchr(line, '\n', have)) == NULL) {
			if (!exchange())
				wrong(0, "an answer, and not the end", have, 0);
			continue;
		}
		len = (size_t)(nl + 1 - line);
		if ((why = decode(line, len, got, &n, &at)) != NULL)
			wrong(0, why, len, at);
		if (expected != NULL && strncmp(line + HEADLEN, expected,
		    len - HEADLEN - 2) != 0)
			wrong(0, expected, len, 0);
		for (i = 0; i < n; i++)
			if (i >= sent_n || got[i] != (unsigned char)sent[i])
				wrong(i, "the bytes sent", len, 4 * i);
		if (transport == 's' && n != (sent_n < most ? sent_n : most))
			wrong(0, "a line for each read()", len, len);
		if (expected != NULL)
			n = sent_n; /* ssh keeps some of them back */
		sent += n;
		sent_n -= n;
		memmove(line, line + len, have -= len);
	}
	if (have > 0)
		wrong(0, "nothing more", have, 0);
}

/* Wait for the end of the program's output; nothing may come before it. */
static void
expect_end(void)
{
	while (exchange())
		if (have > 0)
			wrong(0, "the end", have, 0);
}

/* Press a key; read until its answer, with which what comes must end. */
static void
first_key(void)
{
	static const char answer[] = PREFIX "'x'\r\n";
	const size_t n = sizeof(answer) - 1;

	sent = next = "x";
	sent_n = next_n = 1;
	while (have < n || memcmp(line + have - n, answer, n) != 0)
		if (!exchange() || have == sizeof(line))
			wrong(0, answer, have, 0);
	have = 0;
}

/* Run a table from stdin; send each line when it has been read. */
static void
table(void)
{
	static char text[LONGEST], bytes[LONGEST / 2];
	unsigned int byte;
	char *tab;
	size_t n;

	while (fgets(text, sizeof(text), stdin) != NULL) {
		if ((tab = strchr(text, '\t')) == NULL)
			errx(1, "no tab: %s", text);
		*tab++ = '\0';
		tab[strcspn(tab, "\n")] = '\0';
		for (n = 0; sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
			bytes[n] = (char)byte;
		if (strcmp(tab, "end") != 0)
			talk(bytes, n, strcmp(tab, "any") == 0 ? NULL : tab);
		else if (n == 0 || write(conn, bytes, n) == (ssize_t)n)
			expect_end();
	}
}

/* Send chunks around each boundary: a byte, a page or pty's buffer, a read. */
static void
sizes(void)
{
	static const size_t n[] = { 1, 4095, 4096, 4097, 65535, 65536, 65537 };
	static char bytes[CHUNK + 1];
	size_t i, j;

	most = CHUNK; /* the kernel drops what one read leaves of a packet */
	for (i = 0; i < 3 * sizeof(n) / sizeof(*n); i++) {
		for (j = 0; j < n[i / 3]; j++)
			bytes[j] = i % 3 == 2 ? (char)(j * 7) : "a\xff"[i % 3];
		talk(bytes, n[i / 3], NULL);
	}
}

/* Send pairs as fast as they are taken: each is one read(). */
static void
pairs(void)
{
	static char bytes[2 * 65536];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 2 ? i / 2 : i / 512);
	most = 2;
	talk(bytes, sizeof(bytes), NULL);
}

static void
randoms(void)
{
	static char bytes[8192];
	size_t i, j, n;

	srand(2022);
	for (i = 0; i < 2000; i++) {
		n = 1 + (size_t)rand() % sizeof(bytes);
		for (j = 0; j < n; j++)
			bytes[j] = (char)(rand() >> 7);
		talk(bytes, n, NULL);
	}
}

/* Exchange numbered lines until stdin is ready; say when one was answered. */
static void
keep(void)
{
	struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
	char text[32];
	int i;

	for (i = 0; poll(&p, 1, 100) == 0; i++) {
		snprintf(text, sizeof(text), "%d %d\n", (int)getpid(), i);
		talk(text, strlen(text), NULL);
		if (i == 0 && write(STDOUT_FILENO, "kept\n", 5) != 5)
			err(1, "standard output");
	}
}

static void
keys(void)
{
	int i;

	for (i = 0; i < 500; i++) {
		begun = now();
		talk("k", 1, "'k'");
		printf("%.2f\n", (now() - begun) * 1e6);
	}
}

/* What was answered is what came, less what a line has around it. */
static void
bulk(void)
{
	static char text[8 << 20];
	size_t answered = 0;

	next = memset(text, 'a', sizeof(text));
	next_n = sizeof(text);
	begun = now();
	while (answered != sizeof(text)) {
		if (!exchange())
			errx(1, "the program left");
		answered += have;
		while (have > 0)
			answered -= line[--have] == '\n' ? HEADLEN + 4 : 0;
	}
	printf("%.2f\n", sizeof(text) / 1e6 / (now() - begun));
}

int
main(int argc, char *argv[])
{
	static const struct { const char *name; void (*run)(void); } modes[] = {
		{ "table", table }, { "pairs", pairs }, { "sizes", sizes },
		{ "random", randoms }, { "keep", keep }, { "keys", keys },
		{ "bulk", bulk }, { "start", NULL }, { NULL, NULL }
	}, *mode = modes;
	int status;

	while (argc > 3 && mode->name && strcmp(mode->name, argv[2]) != 0)
		mode++;
	if (argc < 4 || !mode->name || !strchr("supt", transport = argv[1][1]))
		errx(2, "usage: talk -s|-u|-p|-t MODE PROGRAM [ARGUMENT...]");
	if (getenv("LIMIT") != NULL)
		limit = atoi(getenv("LIMIT"));
	signal(SIGPIPE, SIG_IGN);
	start(argv + 3);
	if (transport == 't')
		first_key();
	if (mode->run != NULL)
		mode->run();
	else
		printf("%.2f\n", (now() - begun) * 1e3);
	if (strchr("su", transport)) {
		shutdown(conn, SHUT_WR);
		expect_end();
	} else if (transport == 't')
		kill(child, SIGKILL);
	close(conn); /* a pty hangs up */
	signal(SIGALRM, SIG_DFL);
	alarm((unsigned)limit);
	if (waitpid(child, &status, 0) && status && strchr("su", transport))
		errx(1, "the program ended with status %#x", (unsigned)status);
	return 0;
}
