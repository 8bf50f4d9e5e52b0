/* SPDX-License-Identifier: ISC */
/*
 * For LD_PRELOAD: make a system call of the program fail.
 *
 * FAIL="CALL WHICH HOW": CALL is read, write or prctl; WHICH is the number of
 * the call, from 1, or 0 for every odd one; HOW is an error's name, "short" for
 * one byte only, "none" for a return value of 0, or "getpid" to make that call,
 * which the sandbox forbids, before this one.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char call[16], how[16];
static unsigned long which;

/* Read FAIL before main(), and so before the sandbox. */
__attribute__((constructor)) static void
begin(void)
{
	const char *fail = getenv("FAIL");

	if (!fail || sscanf(fail, "%15s %lu %15s", call, &which, how) != 3)
		abort();
}

/* Count this call. Return whether it must fail, with errno set. */
static int
fails(const char *name)
{
	static unsigned long count; /* only one call is to fail */

	if (strcmp(name, call) != 0)
		return 0;
	count++;
	errno = strcmp(how, "EINTR") == 0 ? EINTR :
	    strcmp(how, "EINVAL") == 0 ? EINVAL :
	    strcmp(how, "EIO") == 0 ? EIO : EPERM;
	if (which == 0 ? count % 2 == 0 : count != which)
		return 0;
	if (strcmp(how, "getpid") != 0)
		return 1;
	syscall(SYS_getpid);
	return 0;
}

ssize_t
read(int fd, void *to, size_t n)
{
	if (!fails("read"))
		return syscall(SYS_read, fd, to, n);
	if (strcmp(how, "short") == 0)
		return syscall(SYS_read, fd, to, 1);
	return strcmp(how, "none") == 0 ? 0 : -1;
}

ssize_t
write(int fd, const void *from, size_t n)
{
	if (!fails("write"))
		return syscall(SYS_write, fd, from, n);
	if (strcmp(how, "short") == 0)
		return syscall(SYS_write, fd, from, 1);
	return strcmp(how, "none") == 0 ? 0 : -1;
}

int
prctl(int option, ...)
{
	va_list arguments;
	unsigned long value, more;

	va_start(arguments, option);
	value = va_arg(arguments, unsigned long);
	more = va_arg(arguments, unsigned long);
	va_end(arguments);
	if (fails("prctl"))
		return -1;
	return (int)syscall(SYS_prctl, option, value, more, 0, 0);
}
