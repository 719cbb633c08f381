/* A ring of fixed size. It starts again at its first byte whenever it is empty, so that only the
 * pages that a slow reader needs ever become resident. */
#ifndef CORACLE_RING_H
#define CORACLE_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
	uint8_t *bytes;
	size_t size;
	size_t head;   /* index of the oldest byte */
	size_t length; /* bytes held */
};

/* Each fills at most two pieces and returns how many. */
int ring_free_pieces(const struct ring *r, struct iovec out[2]);
int ring_pieces(const struct ring *r, size_t skip, size_t length, struct iovec out[2]);
void ring_added(struct ring *r, size_t bytes);
void ring_put(struct ring *r, const uint8_t *from, size_t bytes);
void ring_drop(struct ring *r, size_t bytes);

#endif
