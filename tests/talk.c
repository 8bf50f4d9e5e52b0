/* SPDX-License-Identifier: ISC */
/*
 * talk -s|-u|-p MODE -- PROGRAM [ARGUMENT...]
 *
 * Runs PROGRAM and talks to it: sends bytes, and takes back nothing but the
 * lines that answer them. Exits 0 when every answer was right and, without a
 * pty, PROGRAM then left with status 0 at the end of its input; else says what
 * was wrong and exits 1.
 *
 * -s  over an AF_UNIX SOCK_SEQPACKET socket pair: a send is one read() of
 *     PROGRAM, and one write() of PROGRAM must be one line
 * -u  over a stream socket pair
 * -p  over a pty in the modes that a new one has: echo, signals, CR to LF
 *
 * MODE is one of
 * table   lines of hex, tab, repr from stdin; the answer must be that repr. In
 *         its place, "any" allows any lines that give the bytes back, and "end"
 *         none: PROGRAM must leave
 * pairs   every pair of bytes
 * sizes   around every boundary, each of printable, unprintable and mixed bytes, and
 *         of printable ones but for the last or the middle one
 * random  2,000 chunks of up to 8 KiB, always the same
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "decode.h"

enum { CHUNK = 65536, LONGEST = 4 * CHUNK + 64, PATIENCE = 20000 /* ms */ };

static char transport;  /* 's', 'u' or 'p' */
static int conn;        /* our end */
static pid_t child;
static char line[LONGEST]; /* what came and was not consumed yet */
static size_t have;

/* Starts the program at the other end of the transport. */
static void
start(char *argv[])
{
	int pair[2], size = 212992; /* doubled by Linux: one line must fit */

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

/* Waits until the connection can do what is asked for; gives what it can. */
static int
ready(short events)
{
	struct pollfd p = { .fd = conn, .events = events };
	const int n = poll(&p, 1, PATIENCE);

	if (n == -1)
		err(1, "poll");
	if (n == 0)
		errx(1, "no answer; so far there came %zu bytes: %.*s", have,
		    (int)have, line);
	return p.revents;
}

/* Takes in what is there. Gives 0 at the end, as a pty says it or a socket. */
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
		errx(1, "a write() that is not one line: %.*s", (int)n, line);
	have += (size_t)n;
	return 1;
}

/*
 * Sends n bytes; takes lines until they answer m bytes, and compares those.
 * With expected, the first line must be just that.
 */
static void
exchange(const unsigned char *bytes, size_t n, size_t m, const char *expected)
{
	static unsigned char got[LONGEST];
	size_t sent = 0, answered = 0;

	while (answered < m) {
		const int can = ready(sent < n ? POLLIN | POLLOUT : POLLIN);
		char *nl;

		if (can & POLLOUT) {
			const ssize_t w = write(conn, bytes + sent, n - sent);

			if (w == -1 && errno != EAGAIN)
				err(1, "write");
			sent += w > 0 ? (size_t)w : 0;
		}
		if ((can & (POLLIN | POLLHUP)) && !receive())
			errx(1, "the program left; before that: %.*s", (int)have, line);
		while ((nl = memchr(line, '\n', have)) != NULL) {
			const size_t len = (size_t)(nl + 1 - line);

			if (expected != NULL && (len != strlen(expected) + 8 ||
			    memcmp(line + 6, expected, len - 8) != 0))
				errx(1, "not %s: %.*s", expected, (int)len, line);
			answered += decode(line, len, got + answered);
			memmove(line, line + len, have -= len);
		}
	}
	if (have > 0 || answered != m || memcmp(bytes, got, m) != 0)
		errx(1, "of %zu bytes %zu came back, and not these bytes", m, answered);
}

/* Waits for the end of the program's output; nothing may come before it. */
static void
expect_end(void)
{
	for (;;) {
		const int can = ready(POLLIN);

		if ((can & (POLLIN | POLLHUP)) && !receive())
			break;
		if (have > 0)
			errx(1, "not the end: %.*s", (int)have, line);
	}
}

/* Runs a table from stdin; sends each line when it has been read. */
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
			if (write(conn, bytes, n) != (ssize_t)n)
				err(1, "write");
			expect_end();
		} else if (n > 0) {
			exchange(bytes, n, n, strcmp(tab + 1, "any") == 0 ? NULL : tab + 1);
		}
	}
}

/* Sends as many bytes as around each boundary: a read, a pty's, a page. */
static void
sizes(void)
{
	static const size_t size[] = { 1, 2, 3, 4095, 4096, 4097, CHUNK - 1, CHUNK,
		CHUNK + 1 };
	static unsigned char bytes[CHUNK + 1];

	for (size_t kind = 0; kind < 5; kind++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)(kind == 1 ? 0xff : kind == 2 ? i * 7 : 'a');
		for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
			const size_t odd = kind == 3 ? size[i] - 1 : size[i] / 2;
			/* of a longer packet, the kernel drops what one read leaves */
			const size_t m = transport == 's' && size[i] > CHUNK ? CHUNK : size[i];

			bytes[odd] = kind < 3 ? bytes[odd] : 0x1b;
			exchange(bytes, size[i], m, NULL);
			bytes[odd] = kind < 3 ? bytes[odd] : 'a';
		}
	}
}

int
main(int argc, char *argv[])
{
	static unsigned char bytes[8192];
	const char *mode;
	int status;

	if (argc < 5 || strchr("sup", transport = argv[1][1]) == NULL)
		errx(2, "usage: talk -s|-u|-p MODE -- PROGRAM [ARGUMENT...]");
	mode = argv[2];
	signal(SIGPIPE, SIG_IGN);
	start(argv + 4);
	if (strcmp(mode, "table") == 0) {
		table();
	} else if (strcmp(mode, "pairs") == 0) {
		for (unsigned i = 0; i < 65536; i++) {
			bytes[0] = (unsigned char)(i >> 8);
			bytes[1] = (unsigned char)i;
			exchange(bytes, 2, 2, NULL);
		}
	} else if (strcmp(mode, "sizes") == 0) {
		sizes();
	} else if (strcmp(mode, "random") == 0) {
		srand(2022);
		for (int i = 0; i < 2000; i++) {
			const size_t n = 1 + (size_t)rand() % sizeof(bytes);

			for (size_t j = 0; j < n; j++)
				bytes[j] = (unsigned char)(rand() >> 7);
			exchange(bytes, n, n, NULL);
		}
	} else {
		errx(2, "no such mode: %s", mode);
	}
	if (transport == 'p') {
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
