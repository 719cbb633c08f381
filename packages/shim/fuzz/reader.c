#include "reader.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

const uint8_t reader_epoch[16] = { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 };

static uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Mostly a few bytes, sometimes a lot: both ends of a header, and both halves of the buffer. */
static size_t piece_size(uint32_t *state, size_t most)
{
	uint32_t now = random_next(state);
	size_t size = now % 8 ? 1 + now / 8 % 40 : 1 + now / 8 % DECODER_BYTES;

	return size < most ? size : most;
}

/* 1: something was taken, 0: bytes are needed, -1: the rules are broken. */
static int take(struct decoder *d, bool *greeting, const struct sink *to, enum verdict *verdict)
{
	struct preamble preamble;
	struct frame frame;
	const char *why = NULL;
	int result;

	if (*greeting) {
		result = decoder_preamble(d, reader_epoch, &preamble);
		if (result > 0) {
			*greeting = false;
			to->preamble(to->context, &preamble);
		}
		return result;
	}
	result = decoder_next(d, &frame, &why);
	if (result > 0)
		to->frame(to->context, &frame);
	if (result < 0)
		*verdict = strcmp(why, "wrong trailer") == 0 ? VERDICT_TRAILER : VERDICT_HEADER;
	return result;
}

enum verdict reader_run(const uint8_t *data, size_t size, int greeting, uint32_t cuts, const struct sink *to)
{
	static struct decoder d;
	enum verdict verdict = VERDICT_MORE;
	bool greets = greeting;
	size_t at = 0, moved = 0;
	int result = 0;

	decoder_reset(&d);
	while (at < size) {
		uint8_t *into;
		size_t head = d.head, held = d.tail - d.head;
		size_t room = decoder_space(&d, &into);
		MUST(room > 0 && into + room == d.bytes + sizeof d.bytes);
		MUST(d.tail - d.head == held);
		if (d.head != head)
			moved += held;
		size_t most = size - at < room ? size - at : room;
		size_t now = cuts ? piece_size(&cuts, most) : most;
		memcpy(into, data + at, now);
		decoder_filled(&d, now);
		at += now;
		while ((result = take(&d, &greets, to, &verdict)) > 0)
			;
		if (result < 0)
			return verdict;
		/* What waits for its rest is less than a frame. */
		MUST(d.tail - d.head < FRAME_BYTES_MAX && moved <= at);
	}
	return VERDICT_MORE;
}
