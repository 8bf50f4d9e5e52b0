/* SPDX-License-Identifier: ISC */
/*
 * For LD_PRELOAD: make a system call of the program fail.
 *
 * FAIL="CALL WHICH HOW": CALL is read, write, tcgetattr, tcsetattr, fcntl or
 * prctl; WHICH is the number of the call, from 1, or 0 for every odd one; HOW is
 * the name of an error, "short" for one byte only, or, of a write, "none".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static const struct {
	const char *name;
	int number;
} errors[] = {
	{ "EINTR", EINTR }, { "EAGAIN", EAGAIN }, { "EIO", EIO }, { "EBADF", EBADF },
	{ "EPIPE", EPIPE }, { "ENOSPC", ENOSPC }, { "EINVAL", EINVAL },
};

static char call[16], how[16];
static unsigned long which;
static int (*real_tcgetattr)(int, struct termios *);
static int (*real_tcsetattr)(int, int, const struct termios *);

/* Read FAIL and find what is wrapped: before main, and so before the sandbox. */
__attribute__((constructor)) static void
begin(void)
{
	const char *fail = getenv("FAIL");
	char *rest;

	*(void **)&real_tcgetattr = dlsym(RTLD_NEXT, "tcgetattr");
	*(void **)&real_tcsetattr = dlsym(RTLD_NEXT, "tcsetattr");
	if (fail == NULL || strlen(fail) >= sizeof(call) + sizeof(how))
		abort();
	strncpy(call, fail, strcspn(fail, " "));
	which = strtoul(fail + strlen(call), &rest, 10);
	strncpy(how, rest + 1, sizeof(how) - 1);
}

/*
 * Return whether this call is to fail, and count it. errno is set then, unless the
 * call is to be short.
 */
static int
fails(const char *name)
{
	static unsigned long count; /* only one call is to fail */

	if (strcmp(name, call) != 0)
		return 0;
	count++;
	if (which == 0 ? count % 2 == 0 : count != which)
		return 0;
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (strcmp(errors[i].name, how) == 0)
			errno = errors[i].number;
	return 1;
}

ssize_t
read(int fd, void *to, size_t n)
{
	if (!fails("read"))
		return syscall(SYS_read, fd, to, n);
	return strcmp(how, "short") == 0 ? syscall(SYS_read, fd, to, 1) : -1;
}

ssize_t
write(int fd, const void *from, size_t n)
{
	if (!fails("write"))
		return syscall(SYS_write, fd, from, n);
	if (strcmp(how, "none") == 0)
		return 0;
	return strcmp(how, "short") == 0 ? syscall(SYS_write, fd, from, 1) : -1;
}

int
tcgetattr(int fd, struct termios *to)
{
	return fails("tcgetattr") ? -1 : real_tcgetattr(fd, to);
}

int
tcsetattr(int fd, int when, const struct termios *to)
{
	return fails("tcsetattr") ? -1 : real_tcsetattr(fd, when, to);
}

int
fcntl(int fd, int command, ...)
{
	va_list arguments;
	long flags;

	va_start(arguments, command);
	flags = va_arg(arguments, long);
	va_end(arguments);
	return fails("fcntl") ? -1 : (int)syscall(SYS_fcntl, fd, command, flags);
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
	return fails("prctl") ? -1 : (int)syscall(SYS_prctl, option, value, more, 0, 0);
}
