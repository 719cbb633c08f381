/* The proxy holds a flock(2) on SOCKET.lock for as long as it lives. Whoever starts one takes that lock
 * first and hands it on: of a thousand shims that lose their proxy one starts a Node, and when that one is
 * killed, wherever it had come to, the kernel frees the lock for the next. Programs that know nothing of
 * this only start a proxy in vain, which finds the lock taken. */
#include "starter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "scope.h"

extern char **environ;

static int open_beside(const char *socket, const char *suffix, int flags)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof path, "%s%s", socket, suffix) >= sizeof path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CREAT | O_CLOEXEC, 0600);
}

static int spawn(const struct options *o, int log, int lock)
{
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_t actions;
	sigset_t none, all;
	char *arguments[] = { (char *)(uintptr_t)o->start_proxy, NULL };
	pid_t pid;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes,
				 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_adddup2(&actions, log, 2);
	/* Last: `log` may be this number. The same number twice takes FD_CLOEXEC away. */
	posix_spawn_file_actions_adddup2(&actions, lock, STARTER_LOCK_FD);
	int error = posix_spawn(&pid, o->start_proxy, &actions, &attributes, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return error ? -error : pid;
}

int starter_spawn(const struct options *o)
{
	autoclose int lock = open_beside(o->socket, ".lock", O_RDWR);

	if (lock < 0)
		return -errno;
	if (flock(lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	autoclose int log = open_beside(o->socket, ".log", O_WRONLY | O_APPEND);
	return log < 0 ? -errno : spawn(o, log, lock);
}
