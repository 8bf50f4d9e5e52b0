/* SPDX-License-Identifier: ISC */
/*
 * talk -s|-u|-p|-t MODE PROGRAM [ARGUMENT...]
 *
 * Run PROGRAM and talk to it: send bytes, and accept nothing but the lines that
 * answer them. Exit 0 when every answer was right and, without a pty, PROGRAM then
 * left with status 0 at the end of its input; else say what was sent, expected and
 * received, and exit 1.
 *
 * -s  over an AF_UNIX SOCK_SEQPACKET socket pair: a send is one read() of
 *     PROGRAM, and one write() of PROGRAM must be one line
 * -u  over a stream socket pair
 * -p  over a pty in the modes that a new one has: echo, signals, CR to LF
 * -t  as -u, to an "ssh -tt": wait for the answer to a first key, before which the
 *     key itself may be echoed; PROGRAM is killed in the end
 *
 * MODE is one of
 * table   lines of hex, tab, repr from stdin; the answer must be that repr. In
 *         its place, "any" allows any lines that give the bytes back, and "end"
 *         none: PROGRAM must leave
 * pairs   every pair of bytes
 * sizes   around every boundary, each of printable, unprintable and mixed bytes
 * random  2,000 chunks of up to 8 KiB, always the same
 * keep    a short line every tenth of a second, until stdin ends or has something
 *
 * or, with -t, one that measures:
 * start   print the ms from the start of PROGRAM to the answer to the first key
 * keys    print the us from a key to its answer, for each of 500
 * bulk    print the MB/s of 8 MiB of text, sent as fast as they are taken
 */
#define _XOPEN_SOURCE 700
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "decode.h"

enum { CHUNK = 65536, LONGEST = 4 * CHUNK + 64, PATIENCE = 20000 /* ms */ };

static char transport;  /* 's', 'u', 'p' or 't' */
static int conn;        /* our end */
static pid_t child;
static char line[LONGEST]; /* what came and was not consumed yet */
static size_t have;
static const char *sent = "";  /* what the program is to answer */
static size_t sent_n;
static size_t most = LONGEST;  /* bytes of one write to it */
static double begun;           /* when it was started */

/* Say what was sent, expected and received, from around an offset of each; exit. */
static _Noreturn void
wrong(size_t sent_at, const char *expected, const char *came, size_t n, size_t at)
{
	show("sent:     ", sent, sent_n, sent_at);
	show("expected: ", expected, strlen(expected), at);
	show("came:     ", came, n, at);
	exit(1);
}

/* Return the time in seconds. */
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
	int pair[2], size = 212992; /* doubled by Linux: one line must fit */

	begun = now();
	if (transport == 'p') {
		conn = posix_openpt(O_RDWR | O_NOCTTY);
		if (conn == -1 || grantpt(conn) || unlockpt(conn) ||
		    (pair[1] = open(ptsname(conn), O_RDWR | O_NOCTTY)) == -1)
			err(1, "pty");
	} else {
		if (socketpair(AF_UNIX,
		    transport == 's' ? SOCK_SEQPACKET : SOCK_STREAM, 0, pair))
			err(1, "socketpair");
		conn = pair[0];
		setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	if ((child = fork()) == -1)
		err(1, "fork");
	if (child == 0) {
		if (transport == 'p') {
			setsid();
			close(open(ptsname(conn), O_RDWR)); /* now it controls */
		}
		close(conn);
		dup2(pair[1], 0);
		dup2(pair[1], 1);
		close(pair[1]);
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	close(pair[1]);
	fcntl(conn, F_SETFL, O_NONBLOCK);
}

/* Wait until the connection is ready for one of the events. Return which. */
static int
ready(short events)
{
	struct pollfd p = { .fd = conn, .events = events };
	const int n = poll(&p, 1, PATIENCE);

	if (n == -1)
		err(1, "poll");
	if (n == 0)
		wrong(0, "an answer within 20 s", line, have, 0);
	return p.revents;
}

/* Read what is there. Return 0 at the end, as a pty says it or a socket. */
static int
receive(void)
{
	const ssize_t n = read(conn, line + have, sizeof(line) - have);

	if (n == -1 && errno == EAGAIN)
		return 1;
	if (n == -1 && errno != EIO && errno != ECONNRESET)
		err(1, "read");
	if (n <= 0)
		return 0;
	if (transport == 's' && (have > 0 || n < 2 || line[n - 2] != '\r'))
		wrong(0, "one line in one write()", line, (size_t)n, (size_t)n);
	have += (size_t)n;
	return 1;
}

/* Send up to n bytes. Return how many. */
static size_t
transmit(const void *bytes, size_t n)
{
	const ssize_t w = write(conn, bytes, n < most ? n : most);

	if (w == -1 && errno != EAGAIN)
		err(1, "write");
	return w > 0 ? (size_t)w : 0;
}

/*
 * Send n bytes; read lines until they answer m bytes, and compare those. With
 * expected, read one line, which must have just that repr.
 */
static void
exchange(const unsigned char *bytes, size_t n, size_t m, const char *expected)
{
	static unsigned char got[LONGEST];
	size_t written = 0, answered = 0;

	sent = (const char *)bytes;
	sent_n = n;
	while (answered < m) {
		const int can = ready(written < n ? POLLIN | POLLOUT : POLLIN);
		char *nl;

		if (can & POLLOUT)
			written += transmit(bytes + written, n - written);
		if ((can & (POLLIN | POLLHUP)) && !receive())
			wrong(answered, "an answer, and not the end", line, have, 0);
		while ((nl = memchr(line, '\n', have)) != NULL) {
			const size_t len = (size_t)(nl + 1 - line);
			size_t more, at;
			const char *why = decode(line, len, got + answered, &more, &at);

			if (why != NULL)
				wrong(answered, why, line, len, at);
			if (expected != NULL) {
				if (len != HEADLEN + strlen(expected) + 2 ||
				    memcmp(line + HEADLEN, expected, strlen(expected)) != 0)
					wrong(0, expected, line, len, 0);
				more = m - answered;
			}
			for (at = answered; expected == NULL && at < answered + more; at++)
				if (at >= n || got[at] != bytes[at])
					wrong(at, "the bytes that were sent", line, len, 4 * (at - answered));
			if (transport == 's' && more != (m - answered < most ? m - answered : most))
				wrong(answered, "a line for each read()", line, len, len);
			answered += more;
			memmove(line, line + len, have -= len);
		}
	}
	if (have > 0 || answered != m)
		wrong(m, "nothing more", line, have, 0);
}

/* Wait for the end of the program's output; nothing may come before it. */
static void
expect_end(void)
{
	for (;;) {
		const int can = ready(POLLIN);

		if ((can & (POLLIN | POLLHUP)) && !receive())
			return;
		if (have > 0)
			wrong(0, "the end", line, have, 0);
	}
}

/* Press a key; read until its answer, which must end what comes, at most limit bytes. */
static void
first_key(size_t limit)
{
	static const char answer[] = PREFIX "'x'\r\n";
	const size_t n = sizeof(answer) - 1;

	sent = "x";
	sent_n = transmit("x", 1);
	while (have < n || memcmp(line + have - n, answer, n) != 0) {
		ready(POLLIN);
		if (!receive() || have > limit)
			wrong(0, answer, line, have, 0);
	}
	have = 0;
}

/* Run a table from stdin; send each line when it has been read. */
static void
table(void)
{
	static char text[LONGEST];
	static unsigned char bytes[LONGEST / 2];

	while (fgets(text, sizeof(text), stdin) != NULL) {
		char *tab = strchr(text, '\t'), *p = text;
		size_t n = 0;

		if (tab == NULL)
			errx(1, "no tab: %s", text);
		tab[strcspn(tab, "\n")] = '\0';
		for (unsigned byte; p < tab && sscanf(p, "%2x", &byte) == 1; p += 2)
			bytes[n++] = (unsigned char)byte;
		if (strcmp(tab + 1, "end") == 0) {
			transmit(bytes, n);
			expect_end();
		} else if (n > 0) {
			exchange(bytes, n, n, strcmp(tab + 1, "any") == 0 ? NULL : tab + 1);
		}
	}
}

/* Send as many bytes as there are around each boundary: a read, a pty's, a page. */
static void
sizes(void)
{
	static const size_t size[] = { 1, 2, 3, 4095, 4096, 4097, CHUNK - 1, CHUNK,
		CHUNK + 1 };
	static unsigned char bytes[CHUNK + 1];

	for (size_t kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)(kind == 0 ? 'a' : kind == 1 ? 0xff : i * 7);
		for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++)
			/* of a longer packet, the kernel drops what one read leaves */
			exchange(bytes, size[i],
			    transport == 's' && size[i] > CHUNK ? CHUNK : size[i], NULL);
	}
}

/* Send pairs as fast as they are taken: each is one read(). */
static void
pairs(void)
{
	static unsigned char bytes[2 * 65536];

	for (size_t i = 0; i < 65536; i++) {
		bytes[2 * i] = (unsigned char)(i >> 8);
		bytes[2 * i + 1] = (unsigned char)i;
	}
	most = 2;
	exchange(bytes, sizeof(bytes), sizeof(bytes), NULL);
}

static void
randoms(void)
{
	static unsigned char bytes[8192];

	srand(2022);
	for (int i = 0; i < 2000; i++) {
		const size_t n = 1 + (size_t)rand() % sizeof(bytes);

		for (size_t j = 0; j < n; j++)
			bytes[j] = (unsigned char)(rand() >> 7);
		exchange(bytes, n, n, NULL);
	}
}

/* Exchange numbered lines until stdin is ready; say once that the first was answered. */
static void
keep(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char text[32];

	for (unsigned long i = 0; poll(&p, 1, 100) == 0; i++) {
		const int n = snprintf(text, sizeof(text), "%d %lu\n", (int)getpid(), i);

		exchange((unsigned char *)text, (size_t)n, (size_t)n, NULL);
		if (i == 0 && write(STDOUT_FILENO, "kept\n", 5) != 5)
			err(1, "standard output");
	}
}

static void
start_time(void)
{
	printf("%.2f\n", (now() - begun) * 1e3);
}

static void
keys(void)
{
	for (int i = 0; i < 500; i++) {
		const double pressed = now();

		exchange((const unsigned char *)"k", 1, 1, "'k'");
		printf("%.2f\n", (now() - pressed) * 1e6);
	}
}

/* What was answered is what came, less what a line has around it. */
static void
bulk(void)
{
	static char text[CHUNK];
	const size_t all = 8 << 20;
	size_t written = 0, answered = 0;

	memset(text, 'a', sizeof(text));
	begun = now();
	while (answered != all) {
		const int can = ready(written < all ? POLLIN | POLLOUT : POLLIN);

		if (can & POLLOUT)
			written += transmit(text, all - written < CHUNK ? all - written : CHUNK);
		if ((can & POLLIN) && !receive())
			errx(1, "the program left");
		answered += have;
		while (have > 0)
			answered -= line[--have] == '\n' ? HEADLEN + 4 : 0;
	}
	printf("%.2f\n", (double)all / 1e6 / (now() - begun));
}

int
main(int argc, char *argv[])
{
	static const struct {
		const char *name;
		void (*run)(void);
		size_t before; /* the most that may come before the first answer, from -t */
	} modes[] = { { "table", table, 100 }, { "pairs", pairs, 100 }, { "sizes", sizes, 100 },
		{ "random", randoms, 100 }, { "keep", keep, 100 },
		/* An sshd that is measured may print a motd. */
		{ "start", start_time, CHUNK }, { "keys", keys, CHUNK }, { "bulk", bulk, CHUNK },
		{ NULL, NULL, 0 } };
	size_t mode = 0;
	int status;

	while (argc > 3 && modes[mode].name != NULL && strcmp(modes[mode].name, argv[2]) != 0)
		mode++;
	if (argc < 4 || modes[mode].name == NULL || strchr("supt", transport = argv[1][1]) == NULL)
		errx(2, "usage: talk -s|-u|-p|-t MODE PROGRAM [ARGUMENT...]");
	signal(SIGPIPE, SIG_IGN);
	start(argv + 3);
	if (transport == 't')
		first_key(modes[mode].before);
	modes[mode].run();
	if (transport == 't')
		kill(child, SIGKILL);
	if (transport == 'p' || transport == 't') {
		close(conn); /* hangs up */
		waitpid(child, &status, 0);
		return 0;
	}
	shutdown(conn, SHUT_WR);
	expect_end();
	waitpid(child, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "the program ended with status %#x", (unsigned)status);
	return 0;
}
