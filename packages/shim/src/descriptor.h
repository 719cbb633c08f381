/* Reading and writing descriptors that are shared with others.
 *
 * The engine's stdio is usually somebody else's as well: the user's shell, a pipeline. O_NONBLOCK
 * belongs to the file description, so setting it here would break those others. Instead pipes and
 * terminals are opened a second time through /proc/self/fd, which gives a file description of our
 * own; sockets have MSG_DONTWAIT; regular files and the like never wait. Where opening again is
 * not possible (another user's terminal after su), poll(2) decides and only as much is written as
 * is sure to fit. */
#ifndef CORACLE_DESCRIPTOR_H
#define CORACLE_DESCRIPTOR_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

enum descriptor_kind {
	DESCRIPTOR_CLOSED,
	DESCRIPTOR_PLAIN,    /* a file, /dev/null: never waits */
	DESCRIPTOR_PRIVATE,  /* opened again, non-blocking */
	DESCRIPTOR_SOCKET,
	DESCRIPTOR_CAREFUL,  /* may block: ask poll(2), then move little */
};

struct descriptor {
	enum descriptor_kind kind;
	int shared; /* as inherited */
	int own;    /* ours; -1 unless DESCRIPTOR_PRIVATE */
	size_t careful_bytes;
	bool terminal;
};

/* Fills closed descriptors 0 to 2 with /dev/null, so that nothing else lands on them. */
int descriptor_fill_standard(void);
void descriptor_open(struct descriptor *d, int fd, bool writing);
/* What to poll: inherited for reading (a FIFO opened again after its last writer left would not
 * report that), ours for writing. */
int descriptor_poll_fd(const struct descriptor *d, bool writing);
/* Bytes moved; 0 at the end of file (read); -EAGAIN: later; otherwise -errno. */
ssize_t descriptor_read(const struct descriptor *d, struct iovec *to, int count);
ssize_t descriptor_write(const struct descriptor *d, struct iovec *from, int count);
/* /dev/null takes the number's place, so that it can't be given to something else. */
void descriptor_close(struct descriptor *d);

#endif
