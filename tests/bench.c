/* SPDX-License-Identifier: ISC */
/*
 * bench MODE [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]
 *
 * One measurement, for bench.sh, on Linux. Runs PROGRAM, prints what it measured
 * in one line and ends PROGRAM. Exits 0, or says what was wrong and exits 1.
 *
 * pipe text|random MIB    MB/s that PROGRAM takes, from a pipe to a pipe
 * copy N                  the yardstick for it: answers each read, of as many bytes
 *                         as echo-shell reads, with N bytes for 256, and 10
 * keys N ANSWER           us from a key to its whole answer, the median of N
 * keys-tty N ANSWER       the same on a local pty
 * bulk MIB                MB/s of text that PROGRAM takes and answers, read by read
 * setup                   ms from the start of PROGRAM to the first answer; ms of
 *                         CPU that PROGRAM itself took for it
 * early N MS              how often of N times PROGRAM, an ssh with -tt, gave the
 *                         exact answer, and no echo, to a key that was sent with
 *                         the request for a shell; if MS is not 0, that many ms
 *                         after the reply to it, and -vv shows the reply
 * listen PORT             becomes PROGRAM, with a listening socket as systemd gives
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
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

#define FIRST "echo: 'k'\r\n" /* the answer to the first key */

enum {
	CHUNK = 65536,    /* as in echo-shell.c */
	BLOCK = 1 << 20,  /* the largest pipe without privilege */
	FRAME = sizeof(FIRST) - 2, /* what stands around a text in its answer */
	QUIET = 100,      /* ms without output: all that was to come has come */
	PATIENCE = 60,    /* s for one measurement */
};

struct peer {
	pid_t pid;
	int to, from;
};

static char block[BLOCK] __attribute__((aligned(4096)));

/* Gives the time in seconds. */
static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * Fills the block with text, of which repr changes nothing, or with all 256
 * values: in random order, always the same, each value as often as any other.
 */
static void
fill(int text)
{
	for (size_t i = 0; i < BLOCK; i++) {
		block[i] = (char)(text ? ' ' + i % 93 : i);
		block[i] = (char)(block[i] + (text && block[i] >= '\''));
		block[i] = (char)(block[i] + (text && block[i] >= '\\'));
	}
	srand(2022);
	for (size_t i = BLOCK - 1; i > 0; i--) {
		const size_t j = (size_t)rand() % (i + 1);
		const char c = block[i];

		block[i] = block[j];
		block[j] = c;
	}
}

/* Takes n bytes for fd; writes them all or fails. */
static void
put(int fd, const char *p, size_t n)
{
	while (n > 0) {
		const ssize_t w = write(fd, p, n);

		if (w <= 0)
			err(1, "write");
		p += w;
		n -= (size_t)w;
	}
}

/*
 * Starts a program on pipes, its stderr left alone ('p') or in one with stdout
 * ('e'), or on a pty ('t'). It ends when we do.
 */
static struct peer
start(char *argv[], char how)
{
	struct peer p;
	int in[2], out[2];

	alarm(PATIENCE);
	if (how == 't') {
		in[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (in[1] == -1 || grantpt(in[1]) || unlockpt(in[1]) ||
		    (in[0] = open(ptsname(in[1]), O_RDWR | O_NOCTTY | O_CLOEXEC)) == -1 ||
		    (out[0] = fcntl(in[1], F_DUPFD_CLOEXEC, 3)) == -1 ||
		    (out[1] = fcntl(in[0], F_DUPFD_CLOEXEC, 3)) == -1)
			err(1, "pty");
	} else if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		err(1, "pipe");
	}
	if ((p.pid = fork()) == -1)
		err(1, "fork");
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		if (how == 'e')
			dup2(1, 2);
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	close(in[0]);
	close(out[1]);
	p.to = in[1];
	p.from = out[0];
	return p;
}

/* Ends a program; gives the seconds of CPU that it and its children took. */
static double
stop(struct peer p)
{
	struct rusage used;

	kill(p.pid, SIGKILL);
	if (wait4(p.pid, NULL, 0, &used) == -1)
		err(1, "wait4");
	close(p.to);
	close(p.from);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
	    (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Reads what is there and drops it, until nothing has come for ms. */
static void
drain(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char bytes[4096];

	while (poll(&p, 1, ms) == 1)
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			errx(1, "the program left");
}

/*
 * Reads until a text has come; fails where the output ends before. Gives all that
 * came, with a NUL.
 */
static const char *
await(int fd, const char *text)
{
	static char got[CHUNK];
	size_t have = 0;

	do {
		const ssize_t n = read(fd, got + have, sizeof(got) - 1 - have);

		if (n <= 0)
			errx(1, "the program left; before that: %.*s", (int)have, got);
		have += (size_t)n;
		got[have] = '\0';
	} while (memmem(got, have, text, strlen(text)) == NULL);
	return got;
}

/* Starts a program and waits until its terminal, if it has one, is raw. */
static struct peer
start_ready(char *argv[], char how)
{
	const struct peer p = start(argv, how);

	put(p.to, "k", 1);
	await(p.from, FIRST);
	drain(p.from, QUIET);
	return p;
}

/* The mode pipe. Neither end copies a byte: the program has the time for itself. */
static void
through_pipes(int text, int mib, char *argv[])
{
	const struct peer p = start(argv, 'p');
	double begin;
	pid_t reader;
	int status;

	fill(text);
	if (fcntl(p.to, F_SETPIPE_SZ, BLOCK) == -1 ||
	    fcntl(p.from, F_SETPIPE_SZ, BLOCK) == -1)
		err(1, "F_SETPIPE_SZ");
	if ((reader = fork()) == -1)
		err(1, "fork");
	if (reader == 0) {
		const int null = open("/dev/null", O_WRONLY);
		ssize_t n;

		close(p.to); /* or the program would never see the end */
		while ((n = splice(p.from, NULL, null, NULL, BLOCK, 0)) > 0)
			continue;
		_exit(n != 0);
	}
	begin = now();
	for (int i = 0; i < mib * (BLOCK / CHUNK); i++) {
		struct iovec part = { block + i * CHUNK % BLOCK, CHUNK };

		while (part.iov_len > 0) {
			const ssize_t n = vmsplice(p.to, &part, 1, 0);

			if (n == -1)
				err(1, "vmsplice");
			part.iov_base = (char *)part.iov_base + n;
			part.iov_len -= (size_t)n;
		}
	}
	close(p.to);
	if (waitpid(reader, &status, 0) == -1 || status != 0)
		errx(1, "reading failed");
	printf("%.1f\n", mib * (double)BLOCK / 1e6 / (now() - begin));
	waitpid(p.pid, &status, 0);
	if (status != 0)
		errx(1, "the program ended with status %#x", (unsigned)status);
}

/*
 * The mode copy. Its answers end as lines do, and to one byte it answers FIRST, so
 * that the other modes need not know it from echo-shell.
 */
static void
copy(size_t per256)
{
	static char in[CHUNK], out[4 * CHUNK + sizeof(FIRST)];
	char *const end = out + sizeof(out) - 1;
	ssize_t n;

	memset(out, 'x', sizeof(out));
	memcpy(end - strlen(FIRST), FIRST, strlen(FIRST));
	while ((n = read(STDIN_FILENO, in, sizeof(in))) > 0) {
		const size_t m = (size_t)n * per256 / 256 + FRAME;

		put(STDOUT_FILENO, end - m, m);
	}
	if (n == -1)
		err(1, "read");
}

/* Compares two times, for qsort(). */
static int
later(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The modes keys and keys-tty. */
static void
keys(size_t count, const char *answer, char *argv[], char how)
{
	const size_t len = strlen(answer);
	const struct peer p = start_ready(argv, how);
	double *const took = calloc(count, sizeof(*took));
	char got[64];

	if (took == NULL || len > sizeof(got))
		errx(1, "too many keys, or too long an answer");
	for (size_t i = 0; i < count; i++) {
		const double begin = now();
		size_t have = 0;

		put(p.to, "k", 1);
		while (have < len) {
			const ssize_t n = read(p.from, got + have, sizeof(got) - have);

			if (n <= 0)
				errx(1, "the program left");
			have += (size_t)n;
		}
		took[i] = now() - begin;
		if (have != len || memcmp(got, answer, len) != 0)
			errx(1, "not the answer: %.*s", (int)have, got);
	}
	qsort(took, count, sizeof(*took), later);
	printf("%.1f\n", took[count / 2] * 1e6);
	stop(p);
}

/* The mode bulk. What was answered is what came, less a frame for each line. */
static void
bulk(size_t mib, char *argv[])
{
	static char got[CHUNK];
	const struct peer p = start_ready(argv, 'p');
	const size_t all = mib * BLOCK;
	size_t sent = 0, came = 0, frames = 0;
	double begin;

	fill(1);
	begin = now();
	fcntl(p.to, F_SETFL, O_NONBLOCK);
	while (came - frames < all) {
		struct pollfd can[] = { { .fd = p.from, .events = POLLIN },
			{ .fd = sent < all ? p.to : -1, .events = POLLOUT } };

		if (poll(can, 2, -1) == -1)
			err(1, "poll");
		if (can[1].revents) {
			const ssize_t n = write(p.to, block + sent % BLOCK,
			    CHUNK - sent % CHUNK);

			if (n == -1 && errno != EAGAIN)
				err(1, "write");
			sent += n > 0 ? (size_t)n : 0;
		}
		if (can[0].revents) {
			const ssize_t n = read(p.from, got, sizeof(got));
			const char *nl = got;

			if (n <= 0)
				errx(1, "the program left");
			came += (size_t)n;
			while ((nl = memchr(nl, '\n', (size_t)(got + n - nl))) != NULL) {
				frames += FRAME;
				nl++;
			}
		}
	}
	if (came - frames != all)
		errx(1, "%zu bytes were answered, not %zu", came - frames, all);
	printf("%.2f\n", (double)all / 1e6 / (now() - begin));
	stop(p);
}

/* The mode setup. The key is there before the client asks for anything. */
static void
setup(char *argv[])
{
	const double begin = now();
	const struct peer p = start(argv, 'p');
	double took;

	put(p.to, "k", 1);
	await(p.from, FIRST);
	took = now() - begin;
	printf("%.2f %.2f\n", took * 1e3, stop(p) * 1e3);
}

/* The mode early. An echo would come just before the answer, on its line. */
static void
early(int tries, long ms, char *argv[])
{
	const struct timespec wait = { .tv_nsec = ms * 1000000 };
	int exact = 0;

	for (int i = 0; i < tries; i++) {
		const struct peer p = start(argv, ms == 0 ? 'p' : 'e');
		const char *got, *first;

		if (ms != 0) {
			await(p.from, "shell request accepted");
			nanosleep(&wait, NULL);
		}
		put(p.to, "k", 1);
		got = await(p.from, FIRST);
		first = strstr(got, FIRST);
		exact += first == got || first[-1] == '\n';
		stop(p);
	}
	printf("%d\n", exact);
}

/* The mode listen: one socket as fd 3, with TCP_NODELAY, which connections inherit. */
static _Noreturn void
listen_for(unsigned short port, char *argv[])
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    bind(fd, (const struct sockaddr *)&any, sizeof(any)) ||
	    listen(fd, SOMAXCONN) || dup2(fd, 3) == -1 ||
	    setenv("LISTEN_FDS", "1", 1) || setenv("LISTEN_PID", pid, 1))
		err(1, "listening on port %d", port);
	if (fd != 3)
		close(fd);
	execvp(argv[0], argv);
	err(127, "%s", argv[0]);
}

int
main(int argc, char *argv[])
{
	const char *const mode = argc > 1 ? argv[1] : "", *word[2] = { "", "" };
	char **program = argv + 1;

	while (*program != NULL && strcmp(*program, "--") != 0) {
		if (program > argv + 1 && program < argv + 4)
			word[program - argv - 2] = *program;
		program++;
	}
	if (strcmp(mode, "copy") == 0) {
		copy((size_t)atoi(word[0]));
		return 0;
	}
	if (*program == NULL || *++program == NULL)
		errx(2, "usage: bench MODE [ARGUMENT...] -- PROGRAM [ARGUMENT...]");
	if (strcmp(mode, "pipe") == 0)
		through_pipes(strcmp(word[0], "text") == 0, atoi(word[1]), program);
	else if (strcmp(mode, "keys") == 0 || strcmp(mode, "keys-tty") == 0)
		keys((size_t)atoi(word[0]), word[1], program, mode[4] == '-' ? 't' : 'p');
	else if (strcmp(mode, "bulk") == 0)
		bulk((size_t)atoi(word[0]), program);
	else if (strcmp(mode, "setup") == 0)
		setup(program);
	else if (strcmp(mode, "early") == 0)
		early(atoi(word[0]), atol(word[1]), program);
	else if (strcmp(mode, "listen") == 0)
		listen_for((unsigned short)atoi(word[0]), program);
	else
		errx(2, "no such mode: %s", mode);
	return 0;
}
