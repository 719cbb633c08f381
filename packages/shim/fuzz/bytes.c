/* Any bytes through the decoder: however they are cut, they mean the same, no byte outside of them is
 * read, and the work is linear. Inputs are what a proxy sends, with and without its preamble. */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read, as one number: FNV-1a over all of it. */
struct summary {
	uint64_t hash;
	uint32_t frames, preambles;
	enum verdict verdict;
};

static void mix(struct summary *s, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		s->hash = (s->hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
}

static void on_preamble(void *context, const struct preamble *p)
{
	struct summary *s = context;

	s->preambles++;
	MUST(memcmp(p->echo, reader_epoch, sizeof reader_epoch) == 0);
	mix(s, p->epoch, sizeof p->epoch);
	mix(s, &p->version_min, sizeof p->version_min);
	mix(s, &p->version_max, sizeof p->version_max);
	mix(s, &p->role, sizeof p->role);
}

static void on_frame(void *context, const struct frame *f)
{
	struct summary *s = context;
	uint8_t header[HEADER_BYTES];

	s->frames++;
	MUST(f->length <= PAYLOAD_BYTES_MAX && f->offset <= OFFSET_MAX - (f->type == FRAME_DATA ? f->length : 0));
	header_encode(header, f);
	/* A frame that was taken is the frame that its fields make. */
	MUST(memcmp(header, f->payload - HEADER_BYTES, sizeof header) == 0);
	mix(s, header, sizeof header);
	mix(s, f->payload, f->length);
}

static struct summary read_all(const uint8_t *data, size_t size, bool greeting, uint32_t cuts)
{
	struct summary s = { .hash = 0xcbf29ce484222325u };
	struct sink to = { .preamble = on_preamble, .frame = on_frame, .context = &s };

	s.verdict = reader_run(data, size, greeting, cuts, &to);
	return s;
}

/* Where the slow, obviously right search finds the preamble. */
static bool has_preamble(const uint8_t *data, size_t size)
{
	static const uint8_t magic[16] = "\xC0\xAC\x1E\xFF" "CORACLE-LINK";

	for (size_t at = 0; at + PREAMBLE_BYTES <= size; at++)
		if (memcmp(data + at, magic, sizeof magic) == 0 && memcmp(data + at + 40, reader_epoch, 16) == 0)
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int greeting = 0; greeting < 2; greeting++) {
		struct summary whole = read_all(data, size, greeting, 0);
		struct summary cut = read_all(data, size, greeting, 1 + (uint32_t)whole.hash % 0xfffffff0u);
		MUST(whole.hash == cut.hash && whole.frames == cut.frames && whole.verdict == cut.verdict);
		MUST(whole.preambles == (greeting ? has_preamble(data, size) : 0u));
		MUST(whole.frames <= size / (HEADER_BYTES + TRAILER_BYTES));
	}
	return 0;
}
