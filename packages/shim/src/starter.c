/* The proxy holds a flock(2) on SOCKET.lock for as long as it lives. Whoever starts one takes that lock
 * first and hands it on: of a thousand shims that lose their proxy one starts a Node, and when that one is
 * killed, wherever it had come to, the kernel frees the lock for the next. Programs that know nothing of
 * this only start a proxy in vain, which finds the lock taken. */
#include "starter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "helper.h"
#include "scope.h"

static int open_beside(const char *socket, const char *suffix, int flags)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof path, "%s%s", socket, suffix) >= sizeof path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CREAT | O_CLOEXEC, 0600);
}

int starter_spawn(const struct options *o)
{
	autoclose int lock = open_beside(o->socket, ".lock", O_RDWR);

	if (lock < 0)
		return -errno;
	if (flock(lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	autoclose int log = open_beside(o->socket, ".log", O_WRONLY | O_APPEND);
	if (log < 0)
		return -errno;
	char *arguments[] = { (char *)(uintptr_t)o->start_proxy, NULL };
	return helper_spawn(arguments, o->home_fds, log, lock);
}
