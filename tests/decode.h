/* SPDX-License-Identifier: ISC */
#include <err.h>
#include <string.h>

/*
 * Decodes one answer, by a reading of Python's rules that shares nothing with
 * the program's, and insists that it is the only spelling that repr has for
 * these bytes. Gives how many bytes it stands for.
 */
static size_t
decode(const char *s, size_t n, unsigned char *to)
{
	static const char digits[] = "0123456789abcdef";
	const char *const end = s + n - 3; /* the closing quote */
	const char *const quote = s + 6;
	size_t len = 0, escaped = 0, singles = 0, doubles = 0;

	if (n < 10 || memcmp(s, "echo: ", 6) != 0 ||
	    memcmp(end + 1, "\r\n", 2) != 0 || *quote != *end ||
	    (*quote != '\'' && *quote != '"'))
		errx(1, "not an answer: %.*s", (int)n, s);
	for (s = quote + 1; s < end; len++) {
		int c = (unsigned char)*s++;

		if (c < ' ' || c > '~' || c == *quote)
			errx(1, "byte %02x stands unescaped", (unsigned)c);
		if (c == '\\') {
			c = (unsigned char)*s++;
			if (c == 't' || c == 'n' || c == 'r') {
				c = c == 't' ? 9 : c == 'n' ? 10 : 13;
			} else if (c == 'x') {
				const char *const hi = memchr(digits, *s++, 16);
				const char *const lo = memchr(digits, *s++, 16);

				if (hi == NULL || lo == NULL)
					errx(1, "not two lower case hex digits");
				c = (int)((hi - digits) * 16 + (lo - digits));
				if ((c >= ' ' && c <= '~') || c == 9 || c == 10 || c == 13)
					errx(1, "byte %02x has a shorter form", (unsigned)c);
			} else if (c == *quote) {
				escaped++;
			} else if (c != '\\') {
				errx(1, "\\%c is no escape", c);
			}
		}
		singles += c == '\'';
		doubles += c == '"';
		to[len] = (unsigned char)c;
	}
	if (s != end)
		errx(1, "the last escape runs into the quote");
	if (*quote == '"' ? doubles || !singles : singles && !doubles)
		errx(1, "the other quote should be used");
	if (escaped != (*quote == '\'' ? singles : 0))
		errx(1, "a quote is escaped that need not be");
	return len;
}
