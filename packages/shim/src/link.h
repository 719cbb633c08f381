/* What link.c (the connection and its states), send.c (frames out) and receive.c (frames in) have in
 * common. Only shim.h is for the rest of the program. */
#ifndef CORACLE_LINK_H
#define CORACLE_LINK_H

#include "shim.h"

/* Streams of a process; with its number they make the id of a frame. */
enum { CONTROL = 0, STDIN = 1, STDOUT = 2, STDERR = 3 };

static inline uint32_t id_of(const struct shim *s, uint32_t stream)
{
	return s->options.process * 4 + stream;
}

/* link.c: closes the connection, to connect again after the delay. */
void link_wait_to_retry(struct shim *s);
/* link.c: closes the connection for good and ends the shim, unless it needs the link no more. */
void link_fail(struct shim *s, enum cause cause, const char *text);

/* send.c: puts bytes, or a whole frame, into the batch that is on its way out. */
void *send_append(struct shim *s, size_t length);
void send_frame(struct shim *s, enum frame_type type, uint32_t id, uint64_t offset, const void *payload,
		size_t length);
void send_reset(struct shim *s);
/* send.c: says GOAWAY invalid_argument if a frame can be begun now. */
void send_complaint(struct shim *s, const char *why);

#endif
