/* SPDX-License-Identifier: ISC */
/*
 * sandbox: enter the program's sandbox, once for each system call below, and see
 * whether the kernel lets it through (ALLOWED), or kills the process (KILLED); then
 * all again where a filter is in force before, as in a container. Print a line for
 * each that went wrong; exit 0 if none did.
 *
 * sandbox PROGRAM: run PROGRAM under such a filter.
 */
#define main program_main
#include "../echo-shell.c"
#undef main

#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { ALLOWED, KILLED };

static const struct {
	const char *name;
	int by_hand, expected;
	long number, arguments[3];
} calls[] = {
	{ "read(0)", 0, ALLOWED, SYS_read, { 0, (long)chunk, 0 } },
	{ "read(1)", 0, KILLED, SYS_read, { 1, (long)chunk, 0 } },
	{ "read(3)", 0, KILLED, SYS_read, { 3, (long)chunk, 0 } },
	{ "write(0)", 0, KILLED, SYS_write, { 0, (long)line, 0 } },
	{ "write(1)", 0, ALLOWED, SYS_write, { 1, (long)line, 0 } },
	{ "write(2)", 0, ALLOWED, SYS_write, { 2, (long)line, 0 } },
	{ "write(3)", 0, KILLED, SYS_write, { 3, (long)line, 0 } },
	{ "ioctl(0)", 0, KILLED, SYS_ioctl, { 0, 0, 0 } },
	{ "ioctl(0) by hand", 1, ALLOWED, SYS_ioctl, { 0, 0, 0 } },
	{ "ioctl(1) by hand", 1, KILLED, SYS_ioctl, { 1, 0, 0 } },
	{ "read(3) by hand", 1, KILLED, SYS_read, { 3, (long)chunk, 0 } },
	{ "openat", 0, KILLED, SYS_openat, { AT_FDCWD, (long)"/", O_RDONLY } },
	{ "socket", 0, KILLED, SYS_socket, { AF_INET, SOCK_STREAM, 0 } },
	{ "execve", 0, KILLED, SYS_execve, { (long)"/bin/true", 0, 0 } },
	{ "clone", 0, KILLED, SYS_clone, { SIGCHLD, 0, 0 } },
	{ "kill", 0, KILLED, SYS_kill, { 0, 0, 0 } },
	{ "ptrace", 0, KILLED, SYS_ptrace, { 0, 0, 0 } },
	{ "mmap", 0, KILLED, SYS_mmap, { 0, 4096, 0 } },
	{ "fcntl", 0, KILLED, SYS_fcntl, { 0, F_GETFL, 0 } },
	{ "prctl", 0, KILLED, SYS_prctl, { PR_GET_DUMPABLE, 0, 0 } },
#ifdef __x86_64__
	{ "read(0) of the x32 ABI", 0, KILLED, SYS_read | 0x40000000, { 0, (long)chunk, 0 } },
#endif
};

/* Put a filter in force that allows everything. */
static void
container(void)
{
	struct sock_filter rule = RETURN(ALLOW);
	const struct sock_fprog filter = { 1, &rule };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1)
		abort();
}

/* Make call i in a sandboxed process of its own. Return whether it went wrong. */
static int
try(size_t i)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		local = calls[i].by_hand;
		sandbox();
		syscall(calls[i].number, calls[i].arguments[0],
		    calls[i].arguments[1], calls[i].arguments[2]);
		leave(0);
	}
	waitpid(pid, &status, 0);
	if (calls[i].expected == KILLED ?
	    WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS :
	    WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	printf("%s: expected to be %s, came: status %#x\n", calls[i].name,
	    calls[i].expected == KILLED ? "killed" : "allowed", (unsigned)status);
	return 1;
}

int
main(int argc, char *argv[])
{
	int wrong = 0;

	if (argc > 1) {
		container();
		execv(argv[1], argv + 1);
		abort();
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		wrong |= try(i);
	container();
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		wrong |= try(i);
	return wrong;
}
