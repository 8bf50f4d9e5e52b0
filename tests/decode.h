/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "echo: " /* what the program calls HEAD */
#define HEADLEN (sizeof(PREFIX) - 1)

/* Print a name and 80 bytes of s from around at, unprintable ones as \xNN. */
static void
show(const char *name, const char *s, size_t n, size_t at)
{
	size_t i = at > 30 ? at - 30 : 0;
	const size_t end = n > i + 80 ? i + 80 : n;

	for (fputs(name, stderr); i < end; i++)
		fprintf(stderr, s[i] >= ' ' && s[i] <= '~' ? "%c" : "\\x%02x",
		    (unsigned char)s[i]);
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
	const char *hi, *lo;
	int c, quote;

	*at = *len = 0;
	if (n < HEADLEN + 4 || memcmp(s, PREFIX, HEADLEN) != 0)
		return "\"" PREFIX "\" and a repr";
	*at = end;
	quote = s[HEADLEN];
	if ((quote != '\'' && quote != '"') || s[end] != quote ||
	    memcmp(s + end + 1, "\r\n", 2) != 0)
		return "the quote that began the repr, CR LF";
	for (; i < end; to[(*len)++] = (unsigned char)c) {
		c = (unsigned char)s[*at = i++];
		if (c < ' ' || c > '~' || c == quote)
			return "an escape";
		if (c == '\\' && (c = s[i++]) == 'x') {
			hi = memchr(digits, s[i++], 16);
			lo = memchr(digits, s[i++], 16);
			if (hi == NULL || lo == NULL)
				return "two lower case hex digits";
			c = (int)((hi - digits) * 16 + (lo - digits));
			if ((c >= ' ' && c <= '~') || memchr("\t\n\r", c, 3))
				return "the shorter form of this byte";
		} else if (s[*at] == '\\') {
			escaped += c == quote;
			if (memchr("tnr", c, 3))
				c = c == 't' ? '\t' : c == 'n' ? '\n' : '\r';
			else if (c != quote && c != '\\')
				return "an escape that Python has";
		}
		singles += c == '\'';
		doubles += c == '"';
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
