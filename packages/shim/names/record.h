/* What the agent's relay (packages/agent/src/names/records.ts) and this program tell each other on a process's stdout and
 * stdin: records of a header and a DNS message (RFC 1035, 4.1), both in network order.
 *
 *     0       2        4      5
 *     | length | number | kind | 0 | message: `length` bytes
 *
 * `number` is the asker's; an answer has that of its query. `kind` is how the query came, and has to be asked. */
#ifndef CORACLE_NAMES_RECORD_H
#define CORACLE_NAMES_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_HEADER_BYTES 6u
/* The header of a DNS message. */
#define MESSAGE_MIN_BYTES 12u
#define MESSAGE_MAX_BYTES 65535u

enum kind { KIND_UDP = 0, KIND_TCP = 1 };

struct record {
	uint16_t number;
	enum kind kind;
	const uint8_t *message;
	size_t length;
};

/* How many bytes the first record takes; 0: it is not whole yet; -1: it is none. */
static inline ptrdiff_t record_read(struct record *r, const uint8_t *bytes, size_t length)
{
	if (length < RECORD_HEADER_BYTES)
		return 0;
	r->length = (size_t)bytes[0] << 8 | bytes[1];
	r->number = (uint16_t)(bytes[2] << 8 | bytes[3]);
	if (r->length < MESSAGE_MIN_BYTES || bytes[4] > KIND_TCP || bytes[5] != 0)
		return -1;
	r->kind = (enum kind)bytes[4];
	r->message = bytes + RECORD_HEADER_BYTES;
	if (length - RECORD_HEADER_BYTES < r->length)
		return 0;
	return (ptrdiff_t)(RECORD_HEADER_BYTES + r->length);
}

static inline void record_header(uint8_t *bytes, const struct record *r)
{
	bytes[0] = (uint8_t)(r->length >> 8);
	bytes[1] = (uint8_t)r->length;
	bytes[2] = (uint8_t)(r->number >> 8);
	bytes[3] = (uint8_t)r->number;
	bytes[4] = (uint8_t)r->kind;
	bytes[5] = 0;
}

#endif
