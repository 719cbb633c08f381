#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

/* A terminal that polls writable takes at least this (Linux n_tty.c, WAKEUP_CHARS is 256). */
#define CAREFUL_TERMINAL_BYTES 128

int descriptor_fill_standard(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		int null = open("/dev/null", O_RDWR);
		if (null != fd)
			return -1; /* lower ones are taken, so this is "cannot open" */
	}
	return 0;
}

static bool is_device(const struct stat *st, unsigned int major_number, unsigned int minor_number)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(major_number, minor_number);
}

static int open_again(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void descriptor_open(struct descriptor *d, int fd, bool writing)
{
	struct stat st;

	*d = (struct descriptor){ .kind = DESCRIPTOR_PLAIN, .shared = fd, .own = -1 };
	if (fstat(fd, &st) < 0) {
		d->kind = DESCRIPTOR_CLOSED;
		return;
	}
	d->terminal = isatty(fd);
	if (S_ISSOCK(st.st_mode)) {
		d->kind = DESCRIPTOR_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || d->terminal) {
		/* Opening the multiplexer /dev/ptmx (5, 2) again would make another terminal. */
		d->own = is_device(&st, 5, 2) ? -1 : open_again(fd, writing ? O_WRONLY : O_RDONLY);
		d->kind = d->own >= 0 ? DESCRIPTOR_PRIVATE : DESCRIPTOR_CAREFUL;
		d->careful_bytes = d->terminal ? CAREFUL_TERMINAL_BYTES : PIPE_BUF;
	}
}

int descriptor_poll_fd(const struct descriptor *d, bool writing)
{
	return writing && d->kind == DESCRIPTOR_PRIVATE ? d->own : d->shared;
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) > 0;
}

static ssize_t move(const struct descriptor *d, struct iovec *iov, int count, bool writing)
{
	int fd = d->shared;
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = (size_t)count };

	switch (d->kind) {
	case DESCRIPTOR_CLOSED:
		errno = EBADF;
		return -1;
	case DESCRIPTOR_SOCKET:
		return writing ? sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) :
				 recvmsg(fd, &message, MSG_DONTWAIT);
	case DESCRIPTOR_CAREFUL:
		if (!is_ready(fd, writing ? POLLOUT : POLLIN)) {
			errno = EAGAIN;
			return -1;
		}
		count = 1;
		if (writing && iov->iov_len > d->careful_bytes)
			iov->iov_len = d->careful_bytes;
		break;
	case DESCRIPTOR_PRIVATE:
		fd = d->own;
		break;
	case DESCRIPTOR_PLAIN:
		break;
	}
	return writing ? writev(fd, iov, count) : readv(fd, iov, count);
}

static ssize_t retried(const struct descriptor *d, struct iovec *iov, int count, bool writing)
{
	for (;;) {
		ssize_t moved = move(d, iov, count, writing);
		if (moved >= 0)
			return moved;
		if (errno != EINTR)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
}

ssize_t descriptor_read(const struct descriptor *d, struct iovec *to, int count)
{
	return retried(d, to, count, false);
}

ssize_t descriptor_write(const struct descriptor *d, struct iovec *from, int count)
{
	return retried(d, from, count, true);
}

void descriptor_close(struct descriptor *d)
{
	if (d->kind == DESCRIPTOR_CLOSED)
		return;
	if (d->own >= 0)
		close(d->own);
	d->own = -1;
	d->kind = DESCRIPTOR_CLOSED;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0) {
		close(d->shared);
		return;
	}
	if (null != d->shared) {
		dup3(null, d->shared, d->shared > 2 ? O_CLOEXEC : 0);
		close(null);
	}
}
