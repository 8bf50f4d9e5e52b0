/* SPDX-License-Identifier: ISC */
/*
 * A libFuzzer target: the repr of any bytes must be their one canonical form, by
 * decode.h's reading of Python's rules, lie in the 4n + 2 chars it may take, and be
 * the same where it is made in place.
 * Built without libFuzzer it has a main that tries as many random inputs as its
 * argument says, always the same.
 */
#define main program_main
#include "../echo-shell.c"
#undef main

#include <stdint.h>
#include <stdio.h>

#include "decode.h"

enum { GUARD = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Takes an input; ends the process where its repr is not what it must be. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	/* Of the exact size, so that a sanitizer sees a byte too many, too. */
	unsigned char *const in = malloc(n + !n), *const back = malloc(4 * n + 2);
	char *const out = malloc(6 + 4 * n + 2 + GUARD), *const again = malloc(4 * n + 2);
	size_t length;

	if (in == NULL || back == NULL || out == NULL || again == NULL)
		abort();
	memcpy(in, bytes, n);
	memset(out, 'G', 6 + 4 * n + 2 + GUARD);
	memcpy(out, HEAD, 6);
	length = repr(out + 6, in, n);
	if (length < n + 2 || length > 4 * n + 2)
		abort();
	for (size_t i = 4 * n + 2; i < 4 * n + 2 + GUARD; i++)
		if (out[6 + i] != 'G')
			abort();
	memcpy(out + 6 + length, TAIL, 2);
	if (decode(out, 6 + length + 2, back) != n || memcmp(in, back, n) != 0)
		abort();
	memcpy(again + 1, in, n);
	if (repr_in_place(again, n) != length || memcmp(again, out + 6, length) != 0)
		abort();
	free(in);
	free(again);
	free(back);
	free(out);
	return 0;
}

#ifndef LIBFUZZER
int
main(int argc, char *argv[])
{
	const unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
	/* Likelier than the rest are those that repr treats apart. */
	static const char special[] = "'\"\\\t\n\r \x7f~\x1f\x80\xff";
	static uint8_t bytes[300];

	srand(2022);
	for (unsigned long i = 0; i < count; i++) {
		const size_t n = (size_t)rand() % (i % 8 ? 40 : sizeof(bytes));
		const int dull = rand() % 4; /* runs of printable bytes, too */
		const int rare = i % 16 ? 16 : 200;

		for (size_t j = 0; j < n; j++) {
			const int r = rand();

			bytes[j] = (uint8_t)(r % rare == 0 ? special[(r >> 8) % 12] :
			    dull ? ' ' + (r >> 8) % 95 : r >> 8);
		}
		LLVMFuzzerTestOneInput(bytes, n);
	}
	printf("%lu inputs, no fault\n", count);
	return 0;
}
#endif
