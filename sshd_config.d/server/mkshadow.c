/* SPDX-License-Identifier: ISC */
/*
 * Turn lines of name:password on stdin into lines of shadow(5) on stdout, with
 * the SHA-512 hash of the password and no dates. Exit 1 if that fails.
 */
#define _POSIX_C_SOURCE 200809L /* getline() */
#include <sys/random.h>

#include <crypt.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
main(void)
{
	static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz";
	char salt[] = "$6$................$", *line = NULL, *password;
	const char *hash;
	size_t i, size = 0;

	while (getline(&line, &size, stdin) != -1) {
		line[strcspn(line, "\n")] = '\0';
		if ((password = strchr(line, ':')) == NULL)
			errx(1, "a line has no colon");
		*password++ = '\0';
		if (getrandom(salt + 3, 16, 0) != 16)
			err(1, "getrandom");
		for (i = 3; i < 3 + 16; i++)
			salt[i] = digits[salt[i] & 63];
		/* Some implementations return "*0" on failure, others NULL. */
		if ((hash = crypt(password, salt)) == NULL || hash[0] != '$')
			err(1, "crypt");
		printf("%s:%s:::::::\n", line, hash);
	}
	if (ferror(stdin) || fflush(stdout) == EOF)
		err(1, "copy");
	free(line);
	return 0;
}
