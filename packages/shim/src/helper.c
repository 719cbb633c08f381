#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "options.h"
#include "signals.h"

extern char **environ;

/* In the child, which has our memory until it executes: it may change nothing of it but `*error`. */
static void become(char *const *arguments, const int *home_fds, int log_fd, int lock_fd, volatile int *error)
{
	int null;

	setsid();
	/* Not in the shim itself: an engine may be looking at its namespaces just now. */
	for (int i = 0; i < HOME_NAMESPACES && home_fds[i] >= 0; i++)
		if (setns(home_fds[i], 0) < 0)
			goto failed;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log_fd >= 0 ? log_fd : null, 2) < 0)
		goto failed;
	/* Last: `log_fd` may be this number. The same number twice would keep FD_CLOEXEC. */
	if (lock_fd == HELPER_LOCK_FD && fcntl(lock_fd, F_SETFD, 0) < 0)
		goto failed;
	if (lock_fd >= 0 && dup2(lock_fd, HELPER_LOCK_FD) < 0)
		goto failed;
	signals_default();
	execve(arguments[0], arguments, environ);
failed:
	*error = errno;
	_exit(127);
}

int helper_spawn(char *const *arguments, const int *home_fds, int log_fd, int lock_fd)
{
	volatile int error = 0;
	pid_t pid = vfork();

	if (pid == 0)
		become(arguments, home_fds, log_fd, lock_fd, &error);
	if (pid < 0)
		return -errno;
	return error ? -error : pid;
}
