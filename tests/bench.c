/* SPDX-License-Identifier: ISC */
/*
 * bench start|keys|bulk N ANSWER PROGRAM [ARGUMENT...]
 *
 * Run PROGRAM, an ssh to an echo that gives ANSWER to the key k. Print one number:
 *
 * start   ms from the start of PROGRAM to that answer, once
 * keys    us from a key to its whole answer, the median of N keys
 * bulk    MB/s of N MiB of text, sent as fast as they are taken
 *
 * Exit 1 with the reason if that cannot be measured.
 */
#define _XOPEN_SOURCE 700
#include <sys/types.h>

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

enum { CHUNK = 65536, PATIENCE = 60 /* s */ };

static int to, from;    /* the program's input and output */
static pid_t child;

/* Return the time in seconds. */
static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
start(char *argv[])
{
	int in[2], out[2];

	if (pipe(in) == -1 || pipe(out) == -1 || (child = fork()) == -1)
		err(1, "%s", argv[0]);
	if (child == 0) {
		alarm(PATIENCE); /* kept by exec */
		dup2(in[0], 0);
		dup2(out[1], 1);
		for (int i = 0; i < 2; i++) {
			close(in[i]);
			close(out[i]);
		}
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	close(in[0]);
	close(out[1]);
	to = in[1];
	from = out[0];
}

/* Read up to n bytes. Return how many; exit at the end, which comes too early. */
static size_t
take(char *p, size_t n)
{
	const ssize_t r = read(from, p, n);

	if (r <= 0)
		errx(1, "the program left");
	return (size_t)r;
}

/* Press the key k; read until its answer ends what came. */
static void
key(const char *answer)
{
	static char got[CHUNK];
	const size_t n = strlen(answer);
	size_t have = 0;

	if (write(to, "k", 1) != 1)
		err(1, "write");
	do {
		have += take(got + have, sizeof(got) - have);
	} while (have < n || memcmp(got + have - n, answer, n) != 0);
}

/* Compare two times, for qsort(). */
static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
keys(size_t n, const char *answer)
{
	double *const took = calloc(n, sizeof(*took));

	if (took == NULL)
		err(1, NULL);
	for (size_t i = 0; i < n; i++) {
		const double begin = now();

		key(answer);
		took[i] = now() - begin;
	}
	qsort(took, n, sizeof(*took), compare);
	return took[n / 2] * 1e6;
}

/* Send n MiB. What was answered is what came, less what a line has around it. */
static double
bulk(size_t n, const char *answer)
{
	static char text[CHUNK], got[CHUNK];
	const size_t all = n << 20, around = strlen(answer) - 1;
	const double begin = now();
	size_t sent = 0, answered = 0;

	memset(text, 'a', sizeof(text));
	fcntl(to, F_SETFL, O_NONBLOCK);
	while (answered != all) {
		struct pollfd can[] = { { .fd = from, .events = POLLIN },
			{ .fd = sent < all ? to : -1, .events = POLLOUT } };

		if (poll(can, 2, -1) == -1)
			err(1, "poll");
		if (can[1].revents) {
			const size_t left = all - sent;
			const ssize_t w = write(to, text, left < CHUNK ? left : CHUNK);

			if (w == -1 && errno != EAGAIN)
				err(1, "write");
			sent += w > 0 ? (size_t)w : 0;
		}
		if (can[0].revents) {
			const size_t r = take(got, sizeof(got));

			answered += r;
			for (size_t i = 0; i < r; i++)
				answered -= got[i] == '\n' ? around : 0;
		}
	}
	return (double)all / 1e6 / (now() - begin);
}

int
main(int argc, char *argv[])
{
	const double begin = now();
	double result;

	if (argc < 5)
		errx(2, "usage: bench start|keys|bulk N ANSWER PROGRAM [ARGUMENT...]");
	signal(SIGPIPE, SIG_IGN);
	start(argv + 4);
	key(argv[3]);
	if (strcmp(argv[1], "start") == 0)
		result = (now() - begin) * 1e3;
	else if (strcmp(argv[1], "keys") == 0)
		result = keys((size_t)atol(argv[2]), argv[3]);
	else
		result = bulk((size_t)atol(argv[2]), argv[3]);
	printf("%.2f\n", result);
	kill(child, SIGKILL);
	return 0;
}
