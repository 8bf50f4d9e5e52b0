/* SPDX-License-Identifier: ISC */
/*
 * sandbox: enter the program's sandbox in a new process for each call below,
 * make the call, and check that it is allowed or kills the process. Do so again
 * under another filter, as in a container. Exit with status 1 if one is wrong.
 *
 * sandbox PROGRAM [ARGUMENT...]: run PROGRAM under such a filter.
 */
#define main program_main
#include "../echo-shell.c"
#undef main

#include <sys/wait.h>

#include <stdio.h>

static const struct {
	const char *name;
	int allowed;
	long number, arg[3];
} calls[] = {
	{ "read(0)", 1, SYS_read, { 0, (long)chunk, 0 } },
	{ "read(1)", 0, SYS_read, { 1, (long)chunk, 0 } },
	{ "read(3)", 0, SYS_read, { 3, (long)chunk, 0 } },
	{ "write(0)", 0, SYS_write, { 0, (long)line, 0 } },
	{ "write(1)", 1, SYS_write, { 1, (long)line, 0 } },
	{ "write(2)", 1, SYS_write, { 2, (long)line, 0 } },
	{ "write(3)", 0, SYS_write, { 3, (long)line, 0 } },
	{ "ioctl(0)", 0, SYS_ioctl, { 0, 0, 0 } },
	{ "openat", 0, SYS_openat, { -1, (long)"/", 0 } },
	{ "socket", 0, SYS_socket, { 1, 1, 0 } },
	{ "execve", 0, SYS_execve, { (long)"/bin/true", 0, 0 } },
	{ "prctl", 0, SYS_prctl, { PR_GET_DUMPABLE, 0, 0 } },
#ifdef __x86_64__
	/* x32's read, or in an x32 program that of x86-64 */
	{ "other read(0)", 0, SYS_read ^ 0x40000000, { 0, (long)chunk, 0 } },
	{ "exit(1) of i386", 0, -1, { 0, 0, 0 } }, /* has write's number */
#endif
};

/* Make each call. Return whether one went wrong. */
static int
try_all(void)
{
	int status, wrong = 0;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (fork() == 0) {
			sandbox();
#ifdef __x86_64__
			if (calls[i].number == -1)
				__asm__("int $0x80" : : "a"(1), "b"(1));
#endif
			syscall(calls[i].number, calls[i].arg[0],
			    calls[i].arg[1], calls[i].arg[2]);
			_exit(0);
		}
		wait(&status);
		if (calls[i].allowed ? status == 0 : WIFSIGNALED(status))
			continue;
		printf("%s: status %#x\n", calls[i].name, (unsigned)status);
		wrong = 1;
	}
	return wrong;
}

int
main(int argc, char *argv[])
{
	struct sock_filter rule = RETURN(ALLOW);
	const struct sock_fprog filter = { 1, &rule };
	const int wrong = argc > 1 ? 0 : try_all();

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1)
		err(1, "filter");
	return argc > 1 ? execvp(argv[1], argv + 1) : wrong | try_all();
}
