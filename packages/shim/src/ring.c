#include "ring.h"

#include <string.h>

static int pieces(const struct ring *r, size_t from, size_t length, struct iovec out[2])
{
	size_t start = (r->head + from) % r->size;
	size_t first = length < r->size - start ? length : r->size - start;
	int count = 0;

	if (first > 0)
		out[count++] = (struct iovec){ r->bytes + start, first };
	if (length > first)
		out[count++] = (struct iovec){ r->bytes, length - first };
	return count;
}

int ring_free_pieces(const struct ring *r, struct iovec out[2])
{
	return pieces(r, r->length, r->size - r->length, out);
}

int ring_pieces(const struct ring *r, size_t skip, size_t length, struct iovec out[2])
{
	return pieces(r, skip, length, out);
}

void ring_added(struct ring *r, size_t bytes)
{
	r->length += bytes;
}

void ring_put(struct ring *r, const uint8_t *from, size_t bytes)
{
	struct iovec piece[2];
	int count = pieces(r, r->length, bytes, piece);

	for (int i = 0; i < count; i++) {
		memcpy(piece[i].iov_base, from, piece[i].iov_len);
		from += piece[i].iov_len;
	}
	r->length += bytes;
}

void ring_drop(struct ring *r, size_t bytes)
{
	r->length -= bytes;
	r->head = r->length == 0 ? 0 : (r->head + bytes) % r->size;
}
