#include "frame.h"

#include <string.h>

const uint8_t frame_trailer[TRAILER_BYTES] = { 0xC5, 0xAC, 0xE1, 0x7E };

static const uint8_t magic[16] = { 0xC0, 0xAC, 0x1E, 0xFF, 'C', 'O', 'R', 'A',
				   'C',  'L',  'E',  '-',  'L', 'I', 'N', 'K' };

/* What each type may carry; a type that is not here is unknown. */
struct shape {
	uint32_t length_min, length_max;
	bool known, has_offset, may_be_more;
};

static const struct shape shapes[256] = {
	[FRAME_DATA] = { 1, PAYLOAD_BYTES_MAX, true, true, false },
	[FRAME_EOF] = { 0, 0, true, true, false },
	[FRAME_WINDOW] = { 8, 8, true, true, false },
	[FRAME_STOP] = { 0, 0, true, false, false },
	[FRAME_ATTACH] = { 48, 48, true, false, false },
	[FRAME_ATTACHED] = { 48, 48, true, false, false },
	[FRAME_REFUSED] = { 4, 4 + MESSAGE_BYTES_MAX, true, false, false },
	[FRAME_EXIT] = { 24, 24 + MESSAGE_BYTES_MAX, true, false, false },
	[FRAME_DETACHED] = { 0, 0, true, false, false },
	[FRAME_REQUEST] = { 0, PAYLOAD_BYTES_MAX, true, false, true },
	[FRAME_RESPONSE] = { 0, PAYLOAD_BYTES_MAX, true, false, true },
	[FRAME_CANCEL] = { 0, 0, true, false, false },
	[FRAME_BIND] = { 1, SANDBOX_BYTES_MAX, true, false, false },
	[FRAME_BOUND] = { 0, 0, true, false, false },
	[FRAME_GOAWAY] = { 4, 4 + MESSAGE_BYTES_MAX, true, false, false },
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) | (uint32_t)load16(at + 2) << 16;
}

uint64_t load64(const uint8_t *at)
{
	return (uint64_t)load32(at) | (uint64_t)load32(at + 4) << 32;
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

void store32(uint8_t *at, uint32_t value)
{
	store16(at, (uint16_t)value);
	store16(at + 2, (uint16_t)(value >> 16));
}

void store64(uint8_t *at, uint64_t value)
{
	store32(at, (uint32_t)value);
	store32(at + 4, (uint32_t)(value >> 32));
}

void decoder_reset(struct decoder *d)
{
	d->head = d->tail = 0;
}

size_t decoder_space(struct decoder *d, uint8_t **at)
{
	if (d->head == d->tail)
		decoder_reset(d);
	/* A frame always fits behind a head in the first half, so only then is anything moved, and
	 * what is moved (less than a frame) is no more than what was given out since the last time. */
	if (d->head > DECODER_BYTES - FRAME_BYTES_MAX) {
		memmove(d->bytes, d->bytes + d->head, d->tail - d->head);
		d->tail -= d->head;
		d->head = 0;
	}
	*at = d->bytes + d->tail;
	return DECODER_BYTES - d->tail;
}

void decoder_filled(struct decoder *d, size_t bytes)
{
	d->tail += bytes;
}

/* Judged as soon as the header is complete, before anything waits for the payload. */
static const char *header_fault(const struct frame *f, uint16_t zero)
{
	const struct shape *shape = &shapes[f->type];

	if (f->length > PAYLOAD_BYTES_MAX)
		return "length above 32740";
	if (!shape->known)
		return "unknown type";
	if (f->length < shape->length_min || f->length > shape->length_max)
		return "length does not fit the type";
	if (f->flags & ~(shape->may_be_more ? FRAME_FLAG_MORE : 0u))
		return "unknown flag";
	if (zero != 0)
		return "reserved bits are not zero";
	/* Only DATA's payload are bytes of the stream that follow the offset. */
	uint64_t bytes = f->type == FRAME_DATA ? f->length : 0;
	if (f->offset > (shape->has_offset ? OFFSET_MAX - bytes : 0))
		return "offset out of range";
	return NULL;
}

int decoder_next(struct decoder *d, struct frame *f, const char **why)
{
	const uint8_t *at = d->bytes + d->head;
	size_t have = d->tail - d->head;

	if (have < HEADER_BYTES)
		return 0;
	*f = (struct frame){
		.length = load32(at),
		.type = at[4],
		.flags = at[5],
		.id = load32(at + 8),
		.generation = load32(at + 12),
		.offset = load64(at + 16),
		.payload = at + HEADER_BYTES,
	};
	*why = header_fault(f, load16(at + 6));
	if (*why)
		return -1;
	size_t whole = HEADER_BYTES + f->length + TRAILER_BYTES;
	if (have < whole)
		return 0;
	if (memcmp(f->payload + f->length, frame_trailer, TRAILER_BYTES) != 0) {
		*why = "wrong trailer";
		return -1;
	}
	d->head += whole;
	return 1;
}

int decoder_preamble(struct decoder *d, const uint8_t epoch[16], struct preamble *p)
{
	for (; d->head < d->tail; d->head++) {
		const uint8_t *at = d->bytes + d->head;
		size_t have = d->tail - d->head;
		size_t compare = have < sizeof magic ? have : sizeof magic;

		if (at[0] != magic[0] || memcmp(at, magic, compare) != 0)
			continue;
		if (have < PREAMBLE_BYTES)
			return 0;
		if (memcmp(at + 40, epoch, 16) != 0)
			continue;
		p->version_min = load16(at + 16);
		p->version_max = load16(at + 18);
		p->features = load32(at + 20);
		memcpy(p->epoch, at + 24, 16);
		memcpy(p->echo, at + 40, 16);
		p->role = at[56];
		d->head += PREAMBLE_BYTES;
		return 1;
	}
	return 0;
}

void preamble_encode(uint8_t out[PREAMBLE_BYTES], const uint8_t epoch[16])
{
	memset(out, 0, PREAMBLE_BYTES);
	memcpy(out, magic, sizeof magic);
	store16(out + 16, PROTOCOL_VERSION);
	store16(out + 18, PROTOCOL_VERSION);
	memcpy(out + 24, epoch, 16);
	out[56] = ROLE_CLIENT;
}

void header_encode(uint8_t out[HEADER_BYTES], const struct frame *f)
{
	store32(out, f->length);
	out[4] = f->type;
	out[5] = f->flags;
	store16(out + 6, 0);
	store32(out + 8, f->id);
	store32(out + 12, f->generation);
	store64(out + 16, f->offset);
}
