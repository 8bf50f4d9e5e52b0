/* SPDX-License-Identifier: ISC */
/*
 * A libFuzzer target: the repr of any bytes must be their one canonical form, by
 * decode.h's reading of Python's rules, and lie in the 4n + 2 chars it may take.
 * Built without libFuzzer it has a main that tries as many random inputs as its
 * argument says, always the same.
 */
#define main program_main
#include "../echo-shell.c"
#undef main

#include <stdint.h>

#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Try an input; abort where its repr is not what it must be. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	/* Of the exact size, so that a sanitizer sees a byte too many. */
	unsigned char *const in = malloc(n + !n), *const back = malloc(4 * n + 2);
	char *const out = malloc(4 * n + 2);
	char *const answer = malloc(HEADLEN + 4 * n + 4);
	const char *why;
	size_t length, len, at;

	if (in == NULL || back == NULL || out == NULL || answer == NULL)
		abort();
	memcpy(in, bytes, n);
	length = repr(out, in, n);
	memcpy(answer, HEAD, HEADLEN);
	memcpy(answer + HEADLEN, out, length);
	memcpy(answer + HEADLEN + length, TAIL, 2);
	why = decode(answer, HEADLEN + length + 2, back, &len, &at);
	if (why != NULL || len != n || memcmp(in, back, n) != 0) {
		show("sent:     ", (const char *)in, n, 0);
		show("expected: ", why != NULL ? why : "the same", why != NULL ? strlen(why) : 8, 0);
		show("came:     ", out, length, 0);
		abort();
	}
	free(in);
	free(back);
	free(out);
	free(answer);
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

		for (size_t j = 0; j < n; j++) {
			const int r = rand();

			bytes[j] = (uint8_t)(r % 16 == 0 ? special[(r >> 8) % 12] : r >> 8);
		}
		LLVMFuzzerTestOneInput(bytes, n);
	}
	printf("%lu inputs, no fault\n", count);
	return 0;
}
#endif
