/* SPDX-License-Identifier: ISC */
/*
 * A client of SSH's connection protocol (RFC 4254) that does as it likes. The
 * login and the cryptography are those of an ssh that is a ControlMaster: at its
 * socket, a client that asks to be a proxy sends and gets plain packets
 * (PROTOCOL.mux of OpenSSH).
 *
 * channels refused SOCKET    all that a demo user may not have, asked for in right
 *                            and wrong order; each must be refused, and the
 *                            sessions beside it must go on
 * channels broken N SOCKET   breaks the protocol, in way N from 0 on; sshd must end
 *                            the connection. Exits 3 where there is no such way
 * channels load pty|pipe|both N LINES SOCKET...
 *                            opens N sessions at each, with a pty, without, or in
 *                            turn, and exchanges LINES numbered lines on each, all
 *                            at once; prints figures, holds them until stdin ends
 * channels flood pty|pipe BYTES SOCKET
 *                            sends without reading until it is held back, prints
 *                            how much it sent; at the end of stdin it reads, sends
 *                            the rest, and compares all
 *
 * Exits 0 if all was as it must be; else one line says what was not, and 1.
 */
#define _XOPEN_SOURCE 700
#include <sys/socket.h>
#include <sys/un.h>

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "decode.h"

enum { OPEN = 90, CONFIRMED, REFUSED, ADJUST, DATA, EXTENDED, END, CLOSE, REQUEST,
	SUCCESS, FAILURE };
enum { WINDOW = 1 << 21, PACKET = 32768, LONGEST = 4 * 65536 + 64,
	PATIENCE = 30000 /* ms */, QUIET = 1500 /* ms */ };

struct conn {
	int fd;
	size_t have;
	unsigned char in[1 << 18];
	struct channel *channels[64]; /* by our number, which sshd sends back */
};

struct channel {
	struct conn *conn;
	uint32_t self, peer;   /* our number and sshd's */
	uint32_t room;         /* how much sshd takes as yet */
	uint32_t read;         /* how much of our window is used up */
	int reply;             /* to the last open or request; 0 while there is none */
	int ended, status;     /* 1: no more output; 2: closed */
	uint64_t sent, answered; /* bytes */
	size_t have;
	char *line;            /* what came and is no whole line yet */
	char error[512];       /* what came as stderr */
	void (*bytes)(struct channel *, const unsigned char *, size_t);
};

/* A packet that is being made. */
static unsigned char packet[PACKET + 128];
static size_t length;

static void
put_number(uint32_t n)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		packet[length++] = (unsigned char)(n >> shift);
}

static void
put_bytes(const void *bytes, size_t n)
{
	put_number((uint32_t)n);
	memcpy(packet + length, bytes, n);
	length += n;
}

static void
put_string(const char *s)
{
	put_bytes(s, strlen(s));
}

static uint32_t
number(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Begins a packet: a place for its length, no padding, and its type. */
static void
begin(int type)
{
	length = 4;
	packet[length++] = 0;
	packet[length++] = (unsigned char)type;
}

/* Sends what was put; where sshd has ended the connection, nothing happens. */
static void
finish(struct conn *conn)
{
	const size_t n = length;

	length = 0;
	put_number((uint32_t)(n - 4));
	for (size_t sent = 0; sent < n;) {
		const ssize_t w = send(conn->fd, packet + sent, n - sent, MSG_NOSIGNAL);

		if (w == -1)
			return;
		sent += (size_t)w;
	}
}

/* Takes a packet from sshd, of n bytes from its type on. */
static void
take(struct conn *conn, const unsigned char *p, size_t n)
{
	const uint32_t self = n >= 5 ? number(p + 1) : UINT32_MAX;
	struct channel *c = self < 64 ? conn->channels[self] : NULL;

	if (c == NULL)
		return;
	switch (p[0]) {
	case CONFIRMED:
		c->peer = number(p + 5);
		c->room = number(p + 9);
		/* FALLTHROUGH */
	case REFUSED:
	case SUCCESS:
	case FAILURE:
		c->reply = p[0];
		break;
	case ADJUST:
		c->room += number(p + 5);
		break;
	case DATA:
		c->read += number(p + 5);
		c->bytes(c, p + 9, number(p + 5));
		break;
	case EXTENDED:
		c->read += number(p + 9);
		strncat(c->error, (const char *)p + 13,
		    number(p + 9) < sizeof(c->error) - strlen(c->error) ? number(p + 9) : 0);
		break;
	case REQUEST:
		if (number(p + 5) == 11 && memcmp(p + 9, "exit-status", 11) == 0)
			c->status = (int)number(p + 21);
		break;
	case END:
		c->ended |= 1;
		break;
	case CLOSE:
		c->ended |= 2;
		break;
	}
}

/* Waits for bytes from any of n connections and takes them. Gives 0 at the end of
 * one, -1 where nothing came in time. */
static int
receive(struct conn *conns, size_t n, int patience)
{
	static struct pollfd fds[8192];

	for (size_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
	if (poll(fds, n, patience) <= 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct conn *const conn = &conns[i];
		size_t at = 0;
		ssize_t r;

		if (!fds[i].revents)
			continue;
		r = read(conn->fd, conn->in + conn->have, sizeof(conn->in) - conn->have);
		if (r <= 0)
			return 0;
		conn->have += (size_t)r;
		while (conn->have - at >= 4 && conn->have - at - 4 >= number(conn->in + at)) {
			take(conn, conn->in + at + 5, number(conn->in + at) - 1);
			at += 4 + number(conn->in + at);
		}
		memmove(conn->in, conn->in + at, conn->have -= at);
	}
	return 1;
}

/* Connects to an ssh's control socket and becomes its proxy; or fails. */
static void
connect_to(struct conn *conn, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	unsigned char reply[8];

	if (strlen(path) >= sizeof(address.sun_path))
		errx(1, "%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	conn->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (conn->fd == -1 ||
	    connect(conn->fd, (struct sockaddr *)&address, sizeof(address)) == -1)
		err(1, "%s", path);
	length = 4;
	put_number(1); /* MUX_MSG_HELLO, version 4 */
	put_number(4);
	finish(conn);
	length = 4;
	put_number(0x1000000f); /* MUX_C_PROXY, and a number for the reply */
	put_number(0);
	finish(conn);
	for (int i = 0; i < 2; i++) { /* its hello, its reply: */
		if (recv(conn->fd, conn->in, 4, MSG_WAITALL) != 4 ||
		    number(conn->in) != sizeof(reply) ||
		    recv(conn->fd, reply, sizeof(reply), MSG_WAITALL) != sizeof(reply))
			errx(1, "%s: not what a ControlMaster says", path);
	}
	if (number(reply) != 0x8000000f)
		errx(1, "%s: this ssh will not be a proxy", path);
}

/* Waits for the reply to what was sent last on a channel, and gives it. */
static int
reply(struct channel *c)
{
	while (c->reply == 0)
		if (receive(c->conn, 1, PATIENCE) <= 0)
			errx(1, "no reply, or the connection ended");
	return c->reply;
}

/* Asks for a channel of a type, with a window and a packet size of ours. */
static struct channel *
ask(struct conn *conn, const char *type, uint32_t window, uint32_t largest)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->line = malloc(LONGEST)) == NULL)
		err(1, NULL);
	c->conn = conn;
	while (conn->channels[c->self] != NULL && c->self < 63)
		c->self++;
	conn->channels[c->self] = c;
	begin(OPEN);
	put_string(type);
	put_number(c->self);
	put_number(window);
	put_number(largest);
	return c;
}

static struct channel *
session(struct conn *conn)
{
	struct channel *c = ask(conn, "session", WINDOW, PACKET);

	finish(conn);
	return c;
}

/* Begins a request on a channel, by name; finish() sends it. */
static void
request(struct channel *c, const char *name, int want_reply)
{
	c->reply = 0;
	begin(REQUEST);
	put_number(c->peer);
	put_string(name);
	packet[length++] = (unsigned char)want_reply;
}

/* A request with one string or none. Gives its reply. */
static int
asked(struct channel *c, const char *name, const char *argument)
{
	request(c, name, 1);
	if (argument != NULL)
		put_string(argument);
	finish(c->conn);
	return reply(c);
}

static void
put_pty(const char *term, uint32_t size, const unsigned char *modes, size_t n)
{
	put_string(term);
	for (int i = 0; i < 4; i++)
		put_number(size);
	put_bytes(modes, n);
}

static void
close_channel(struct channel *c)
{
	begin(CLOSE);
	put_number(c->peer);
	finish(c->conn);
	while (!c->ended)
		if (receive(c->conn, 1, PATIENCE) <= 0)
			errx(1, "a channel is not closed");
	c->conn->channels[c->self] = NULL;
	free(c->line);
	free(c);
}

/* Sends bytes, as many as sshd takes at once. Gives how many. */
static size_t
transmit(struct channel *c, const unsigned char *bytes, size_t n)
{
	if (n > c->room)
		n = c->room;
	if (n > PACKET)
		n = PACKET;
	begin(DATA);
	put_number(c->peer);
	put_bytes(bytes, n);
	finish(c->conn);
	c->room -= (uint32_t)n;
	c->sent += n;
	return n;
}

/* Gives sshd back the window that was used up. */
static void
adjust(struct channel *c)
{
	begin(ADJUST);
	put_number(c->peer);
	put_number(c->read);
	finish(c->conn);
	c->read = 0;
}

/* --- what comes back ---------------------------------------------------- */

/* The first key: a pty may have echoed it, as long as it was cooked. */
static void
first_answer(struct channel *c, const unsigned char *bytes, size_t n)
{
	static const char answer[] = "echo: 'x'\r\n";

	if (c->have + n > LONGEST)
		errx(1, "more than an answer to one key");
	memcpy(c->line + c->have, bytes, n);
	c->have += n;
	if (c->have >= sizeof(answer) - 1 &&
	    memcmp(c->line + c->have - (sizeof(answer) - 1), answer, sizeof(answer) - 1) == 0)
		c->answered = 1;
}

/* What channel c is sent: byte number at, if it exchanges lines or floods. */
static unsigned char
sent_byte(const struct channel *c, uint64_t at)
{
	static char text[32];
	static uint64_t which = UINT64_MAX;
	const uint64_t here = (uint64_t)c->self << 32 | at / 16;

	if (which != here) /* 16 bytes: session and number of the line */
		snprintf(text, sizeof(text), "%4u %9u.\n", (unsigned)c->self % 10000,
		    (unsigned)(at / 16 % 1000000000));
	which = here;
	return (unsigned char)text[at % 16];
}

/* Whole lines, which must give back what was sent, in order. */
static void
lines(struct channel *c, const unsigned char *bytes, size_t n)
{
	static unsigned char got[LONGEST];

	while (n > 0) {
		const unsigned char *nl = memchr(bytes, '\n', n);
		const size_t part = nl != NULL ? (size_t)(nl + 1 - bytes) : n;
		size_t m;

		if (c->have + part > LONGEST)
			errx(1, "a line that does not end");
		memcpy(c->line + c->have, bytes, part);
		c->have += part;
		bytes += part;
		n -= part;
		if (nl == NULL)
			return;
		m = decode(c->line, c->have, got);
		c->have = 0;
		for (size_t i = 0; i < m; i++)
			if (c->answered + i >= c->sent ||
			    got[i] != sent_byte(c, c->answered + i))
				errx(1, "byte %llu came back wrong",
				    (unsigned long long)(c->answered + i));
		c->answered += m;
	}
}

/* Takes a channel whose shell runs; presses a key that has no answer yet. */
static void
press(struct channel *c)
{
	c->bytes = first_answer;
	c->have = 0;
	c->answered = 0;
	transmit(c, (const unsigned char *)"x", 1);
}

/* Waits for the answer to a key. */
static void
answer(struct channel *c)
{
	while (!c->answered)
		if (c->ended || receive(c->conn, 1, PATIENCE) <= 0)
			errx(1, "a key is not answered; there came: %.*s", (int)c->have, c->line);
}

static void
expect(int reply_is, int expected, const char *what)
{
	if (reply_is != expected)
		errx(1, "%s: %d, not %d", what, reply_is, expected);
}

/* --- the modes ---------------------------------------------------------- */

/* Types of channels that are refused, and then as many sessions as there may be. */
static void
refused_channels(struct conn *conn)
{
	static const char *const types[] = { "direct-tcpip", "forwarded-tcpip", "x11",
		"direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com",
		"auth-agent@openssh.com", "auth-agent", "tun@openssh.com", "nonsense", "" };
	struct channel *c, *many[10];

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		c = ask(conn, types[i], WINDOW, PACKET);
		if (strncmp(types[i], "tun", 3) == 0) {
			put_number(1); /* point to point, on unit: */
			put_number(0);
		} else if (strstr(types[i], "streamlocal") != NULL) {
			put_string("/dev/log");
			put_string("");
			put_number(0);
		} else {
			put_string("127.0.0.1");
			put_number(22);
			put_string("127.0.0.1");
			put_number(1234);
		}
		finish(conn);
		expect(reply(c), REFUSED, types[i]);
		conn->channels[c->self] = NULL;
	}
	for (size_t i = 0; i < 10; i++)
		expect(reply(many[i] = session(conn)), CONFIRMED, "a session");
	c = session(conn);
	expect(reply(c), REFUSED, "the eleventh session");
	conn->channels[c->self] = NULL;
	for (size_t i = 0; i < 10; i++)
		close_channel(many[i]);
}

/* Requests that are refused on any session, before the shell and after it. */
static void
refused_requests(struct channel *c)
{
	static const char *const names[] = { "subsystem", "signal", "auth-agent-req@openssh.com",
		"nonsense", "" };

	expect(asked(c, "subsystem", "sftp"), FAILURE, "sftp");
	request(c, "env", 1);
	put_string("LD_PRELOAD");
	put_string("/tmp/x.so");
	finish(c->conn);
	expect(reply(c), FAILURE, "env");
	request(c, "x11-req", 1);
	packet[length++] = 0;
	put_string("MIT-MAGIC-COOKIE-1");
	put_string("0123456789abcdef");
	put_number(0);
	finish(c->conn);
	expect(reply(c), FAILURE, "x11-req");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		expect(asked(c, names[i], strchr(names[i], '@') ? NULL : "KILL"), FAILURE, names[i]);
}

static void
refused(struct conn *conn)
{
	static const char *const signals[] = { "HUP", "INT", "QUIT", "KILL", "TERM", "ABRT",
		"ALRM", "USR1", "PIPE", "SEGV", "STOP", "INFO@openssh.com" };
	unsigned char modes[5 * 160 + 1] = { 0 };
	struct channel *c, *beside;

	refused_channels(conn);
	beside = session(conn);
	reply(beside);
	expect(asked(beside, "shell", NULL), SUCCESS, "shell");
	press(beside);
	answer(beside);

	/* Every mode there is, on: IUCLC, PARMRK, OLCUC, ECHO, EXTPROC and all. */
	for (size_t i = 0; i < 159; i++) {
		modes[5 * i] = (unsigned char)(i + 1);
		modes[5 * i + 4] = 1;
	}
	c = ask(conn, "session", UINT32_MAX, UINT32_MAX);
	finish(conn);
	reply(c);
	transmit(c, (const unsigned char *)"to no one yet", 13);
	refused_requests(c);
	request(c, "pty-req", 1);
	put_pty("\33]0;x\7%s%n", UINT32_MAX, modes, sizeof(modes));
	finish(conn);
	expect(reply(c), SUCCESS, "pty-req");
	expect(asked(c, "shell", NULL), SUCCESS, "shell");
	expect(asked(c, "shell", NULL), FAILURE, "a second shell");
	expect(asked(c, "exec", "id"), FAILURE, "exec after a shell");
	request(c, "pty-req", 1);
	put_pty("vt100", 80, modes, 1);
	finish(conn);
	expect(reply(c), FAILURE, "pty-req after a shell");
	refused_requests(c);
	press(c);
	answer(c);

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		expect(asked(c, "signal", signals[i]), FAILURE, signals[i]);
	press(c);
	answer(c);
	for (uint32_t i = 0; i < 10000; i++) {
		request(c, "window-change", 0);
		for (uint32_t j = 0; j < 4; j++)
			put_number(i * 2654435761u * j);
		finish(conn);
	}
	press(c);
	answer(c);
	request(c, "break", 1);
	put_number(UINT32_MAX);
	finish(conn);
	reply(c); /* yes or no, both will do */
	press(c);
	answer(c);
	/* An end of input is not one where there is a pty; what follows it is void. */
	begin(END);
	put_number(c->peer);
	finish(conn);
	press(beside);
	answer(beside);
	if (c->ended)
		errx(1, "an end of input has ended a session with a pty");
	close_channel(c);

	c = session(conn);
	reply(c);
	c->bytes = lines;
	expect(asked(c, "exec", "id; exit"), SUCCESS, "exec");
	while (!(c->ended & 2)) /* the status may come after the end of output */
		if (receive(conn, 1, PATIENCE) <= 0)
			errx(1, "a command does not end");
	if (c->status != 1 || strncmp(c->error, "echo-shell: refused 'id; exit': ", 32) != 0)
		errx(1, "a command: status %d, %s", c->status, c->error);
	press(beside);
	answer(beside);
}

/* One way each to break the protocol; sshd must end the connection. */
static int
broken(struct conn *conn, int way)
{
	struct channel *c = session(conn);

	reply(c);
	expect(asked(c, "shell", NULL), SUCCESS, "shell");
	press(c);
	answer(c);
	switch (way) {
	case 0: /* a channel that there is not */
		begin(DATA);
		put_number(4711);
		put_string("x");
		break;
	case 1: /* a request that is cut off */
		request(c, "window-change", 0);
		put_number(80);
		break;
	case 2: /* a string that is longer than its packet */
		begin(DATA);
		put_number(c->peer);
		put_number(UINT32_MAX);
		break;
	case 3: /* a window beyond 2^32 */
		c->read = UINT32_MAX;
		adjust(c);
		adjust(c);
		begin(192);
		break;
	case 4: /* a second pty */
		c = session(conn);
		reply(c);
		for (int i = 0; i < 2; i++) {
			request(c, "pty-req", 0);
			put_pty("vt100", 80, (const unsigned char *)"", 1);
			if (i == 0)
				finish(conn);
		}
		break;
	default:
		return 3;
	}
	finish(conn);
	for (int r; (r = receive(conn, 1, PATIENCE)) != 0;)
		if (r == -1)
			errx(1, "way %d to break the protocol: the connection stays", way);
	return 0;
}

/* Opens as many sessions on each of n connections, with or without a pty in raw
 * modes, and presses a key on each; one step on all of them at a time. */
static void
open_sessions(struct conn *conns, size_t n, size_t sessions, const char *kind)
{
	/* ICRNL, IXON, ISIG, ICANON, ECHO, OPOST off: exact from the first byte. */
	static const unsigned char raw[] = { 36, 0, 0, 0, 0, 38, 0, 0, 0, 0, 50, 0, 0, 0, 0,
		51, 0, 0, 0, 0, 53, 0, 0, 0, 0, 70, 0, 0, 0, 0, 0 };
	const struct conn *const end = conns + n;

	for (size_t i = 0; i < sessions; i++) {
		const int pty = strcmp(kind, "both") == 0 ? i % 2 == 0 : strcmp(kind, "pty") == 0;

		for (struct conn *conn = conns; conn < end; conn++)
			session(conn);
		for (struct conn *conn = conns; conn < end; conn++)
			expect(reply(conn->channels[i]), CONFIRMED, "a session");
		for (struct conn *conn = conns; conn < end && pty; conn++) {
			request(conn->channels[i], "pty-req", 1);
			put_pty("vt100", 80, raw, sizeof(raw));
			finish(conn);
		}
		for (struct conn *conn = conns; conn < end && pty; conn++)
			expect(reply(conn->channels[i]), SUCCESS, "pty-req");
		for (struct conn *conn = conns; conn < end; conn++) {
			request(conn->channels[i], "shell", 1);
			finish(conn);
		}
		for (struct conn *conn = conns; conn < end; conn++) {
			expect(reply(conn->channels[i]), SUCCESS, "shell");
			press(conn->channels[i]);
		}
		for (struct conn *conn = conns; conn < end; conn++) {
			struct channel *const c = conn->channels[i];

			answer(c);
			c->bytes = lines;
			c->have = 0;
			c->sent = c->answered = 0;
		}
	}
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Exchanges lines on every session of every connection, each at its own speed. */
static void
load(struct conn *conns, size_t n, size_t sessions, uint64_t count)
{
	unsigned char text[16];
	size_t busy = n * sessions;
	const double start = now();
	double took;

	while (busy > 0) {
		busy = 0;
		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < sessions; j++) {
				struct channel *const c = conns[i].channels[j];

				if (c->ended)
					errx(1, "a session ended");
				if (c->read > WINDOW / 2)
					adjust(c);
				if (c->answered == c->sent && c->sent < 16 * count) {
					for (size_t k = 0; k < 16; k++)
						text[k] = sent_byte(c, c->sent + k);
					if (transmit(c, text, 16) != 16)
						errx(1, "sshd takes no line");
				}
				busy += c->answered < 16 * count;
			}
		if (busy > 0 && receive(conns, n, PATIENCE) <= 0)
			errx(1, "%zu sessions wait for an answer, or a connection ended", busy);
	}
	took = now() - start;
	printf("%zu sessions, %zu connections, %llu lines each, %.0f a second, wrong or lost 0\n",
	    n * sessions, n, (unsigned long long)count,
	    (double)(n * sessions) * (double)count / took);
	fflush(stdout);
	while (read(STDIN_FILENO, text, sizeof(text)) > 0)
		;
}

static void
flood(struct conn *conn, const char *kind, uint64_t total)
{
	static unsigned char bytes[PACKET];
	struct channel *c;
	int reading = 0;

	open_sessions(conn, 1, 1, kind);
	c = conn->channels[0];
	while (c->answered < total) {
		size_t n = 0;

		while (n < sizeof(bytes) && n < c->room && c->sent + n < total) {
			bytes[n] = sent_byte(c, c->sent + n);
			n++;
		}
		if (n > 0)
			transmit(c, bytes, n);
		if (reading && c->read > 0)
			adjust(c);
		if (receive(conn, 1, n > 0 ? 0 : reading ? PATIENCE : QUIET) == 1 || n > 0)
			continue;
		if (reading || c->sent == total)
			errx(1, "held back for ever, or never: %llu bytes sent, %llu answered",
			    (unsigned long long)c->sent, (unsigned long long)c->answered);
		printf("held back after %llu bytes\n", (unsigned long long)c->sent);
		fflush(stdout);
		while (read(STDIN_FILENO, bytes, 1) > 0)
			;
		reading = 1;
	}
}

int
main(int argc, char *argv[])
{
	static struct conn one;
	struct conn *conns;
	const size_t n = argc > 5 ? (size_t)argc - 5 : 0;

	if (argc == 3 && strcmp(argv[1], "refused") == 0) {
		connect_to(&one, argv[2]);
		refused(&one);
	} else if (argc == 4 && strcmp(argv[1], "broken") == 0) {
		connect_to(&one, argv[3]);
		return broken(&one, atoi(argv[2]));
	} else if (argc > 5 && strcmp(argv[1], "load") == 0) {
		if ((conns = calloc(n, sizeof(*conns))) == NULL)
			err(1, NULL);
		for (size_t i = 0; i < n; i++)
			connect_to(&conns[i], argv[5 + i]);
		open_sessions(conns, n, (size_t)atoi(argv[3]), argv[2]);
		load(conns, n, (size_t)atoi(argv[3]), (uint64_t)atoll(argv[4]));
	} else if (argc == 5 && strcmp(argv[1], "flood") == 0) {
		connect_to(&one, argv[4]);
		flood(&one, argv[2], (uint64_t)atoll(argv[3]));
	} else {
		errx(2, "usage: channels refused|broken N|load KIND N LINES|flood pty|pipe BYTES SOCKET...");
	}
	return 0;
}
