/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "echo: " /* what the program calls HEAD */
#define HEADLEN (sizeof(PREFIX) - 1)

/* Print a name and 80 characters of s from around at, unprintable bytes as \xNN. */
static void
show(const char *name, const char *s, size_t n, size_t at)
{
	const size_t near = at < n ? at : n, begin = near > 30 ? near - 30 : 0;

	fprintf(stderr, "%s%s", name, begin > 0 ? "..." : "");
	for (size_t i = begin, room = 80; i < n && room >= 4; i++) {
		const int plain = s[i] >= ' ' && s[i] <= '~';

		room -= plain ? 1 : 4;
		fprintf(stderr, plain ? "%c" : "\\x%02x", (unsigned char)s[i]);
	}
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
	char quote;

	*at = *len = 0;
	if (n < HEADLEN + 4 || memcmp(s, PREFIX, HEADLEN) != 0)
		return "\"" PREFIX "\" and a repr";
	*at = end;
	quote = s[HEADLEN];
	if ((quote != '\'' && quote != '"') || s[end] != quote ||
	    memcmp(s + end + 1, "\r\n", 2) != 0)
		return "the quote that began the repr, CR LF";
	for (; i < end; ++*len) {
		int c = (unsigned char)s[*at = i++];

		if (c < ' ' || c > '~' || c == quote)
			return "an escape";
		if (c == '\\') {
			c = (unsigned char)s[i++];
			if (c == 't' || c == 'n' || c == 'r') {
				c = c == 't' ? 9 : c == 'n' ? 10 : 13;
			} else if (c == 'x') {
				const char *const hi = memchr(digits, s[i++], 16);
				const char *const lo = memchr(digits, s[i++], 16);

				if (hi == NULL || lo == NULL)
					return "two lower case hex digits";
				c = (int)((hi - digits) * 16 + (lo - digits));
				if ((c >= ' ' && c <= '~') || c == 9 || c == 10 || c == 13)
					return "the shorter form of this byte";
			} else if (c == quote) {
				escaped++;
			} else if (c != '\\') {
				return "an escape that Python has";
			}
		}
		singles += c == '\'';
		doubles += c == '"';
		to[*len] = (unsigned char)c;
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
