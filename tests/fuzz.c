/* SPDX-License-Identifier: ISC */
/*
 * fuzz N: see that the repr of N random inputs is their one canonical form, by
 * decode.h's reading of Python's rules. The inputs are the same every time.
 */
#define main program_main
#include "../echo-shell.c"
#undef main

#include "decode.h"

enum { MOST = 300 };

int
main(int argc, char *argv[])
{
	/* Likelier than the rest are those that repr treats apart. */
	static const char special[] = "'\"\\\t\n\r \x7f~\x1f\x80\xff";
	static unsigned char bytes[MOST], back[4 * MOST];
	static char out[4 * MOST + 2], answer[4 * MOST + 64];
	unsigned long left;

	srand(2022);
	for (left = strtoul(argv[argc - 1], NULL, 10); left > 0; left--) {
		const size_t n = (size_t)rand() % (left % 8 ? 40 : MOST);
		/* At the end, so that a sanitizer sees a byte too many. */
		unsigned char *const in = bytes + MOST - n;
		char *const to = out + 4 * (MOST - n);
		size_t i, len, at;
		const char *why;

		for (i = 0; i < n; i++)
			in[i] = (unsigned char)(rand() % 16 ? rand() >> 7 :
			    special[rand() % ((int)sizeof(special) - 1)]);
		len = repr(to, in, n);
		len = (size_t)sprintf(answer, HEAD "%.*s" TAIL, (int)len, to);
		why = decode(answer, len, back, &len, &at);
		if (why != NULL || len != n || memcmp(in, back, n) != 0) {
			show("sent: ", (char *)in, n, 0);
			errx(1, "%s", why != NULL ? why : "other bytes");
		}
	}
	return 0;
}
