/* Unit tests of the parts without descriptors: frames, rings, streams, texts. Built with the
 * sanitizers; the vectors are those that the TypeScript tests read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frame.h"
#include "ring.h"
#include "stream.h"
#include "text.h"
#include "title.h"

static const char *where = "";
static int checks;

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		checks++;                                                                       \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, where, #condition); \
			exit(1);                                                                \
		}                                                                               \
	} while (0)

/* ---- a vector: bytes and its key=value lines ---- */

struct vector {
	char name[64];
	uint8_t bytes[4096];
	size_t length;
	char keys[16][16];
	char values[16][4096];
	int count;
};

static size_t unhex(const char *text, uint8_t *out, size_t size)
{
	size_t used = 0;
	unsigned int value;

	while (used < size && sscanf(text, "%2x", &value) == 1 && text[0] != '\n') {
		out[used++] = (uint8_t)value;
		text += 2;
	}
	return used;
}

static const char *value_of(const struct vector *v, const char *key)
{
	for (int i = 0; i < v->count; i++)
		if (strcmp(v->keys[i], key) == 0)
			return v->values[i];
	where = key;
	CHECK(!"the vector has this key");
	return "";
}

static uint64_t number_of(const struct vector *v, const char *key)
{
	return strtoull(value_of(v, key), NULL, 10);
}

static struct decoder decoder;

static int feed(const uint8_t *bytes, size_t length, size_t piece, struct frame *f, const char **why)
{
	int result = 0;

	for (size_t at = 0; at < length && result == 0; at += piece) {
		uint8_t *to;
		size_t now = length - at < piece ? length - at : piece;
		CHECK(decoder_space(&decoder, &to) >= now);
		memcpy(to, bytes + at, now);
		decoder_filled(&decoder, now);
		result = decoder_next(&decoder, f, why);
	}
	return result;
}

static void check_fields(const struct vector *v, const struct frame *f)
{
	uint8_t payload[4096], header[HEADER_BYTES];

	CHECK(f->type == number_of(v, "type"));
	CHECK(f->flags == number_of(v, "flags"));
	CHECK(f->id == number_of(v, "id"));
	CHECK(f->generation == number_of(v, "generation"));
	CHECK(f->offset == number_of(v, "offset"));
	CHECK(f->length == unhex(value_of(v, "payload"), payload, sizeof payload));
	CHECK(memcmp(f->payload, payload, f->length) == 0);
	header_encode(header, f);
	CHECK(memcmp(header, v->bytes, HEADER_BYTES) == 0);
}

static void test_frame(const struct vector *v)
{
	struct frame f;
	const char *why;

	for (size_t piece = 1; piece <= v->length; piece++) {
		decoder_reset(&decoder);
		CHECK(feed(v->bytes, v->length, piece, &f, &why) == 1);
		check_fields(v, &f);
		CHECK(decoder.head == decoder.tail);
	}
	for (size_t cut = 0; cut < v->length; cut++) {
		decoder_reset(&decoder);
		CHECK(feed(v->bytes, cut, v->length, &f, &why) == 0);
		CHECK(feed(v->bytes + cut, v->length - cut, v->length, &f, &why) == 1);
		check_fields(v, &f);
	}
	/* Every single bit of the trailer counts. */
	for (size_t bit = 0; bit < 8 * TRAILER_BYTES; bit++) {
		uint8_t torn[4096];
		memcpy(torn, v->bytes, v->length);
		torn[v->length - 1 - bit / 8] ^= (uint8_t)(1 << bit % 8);
		decoder_reset(&decoder);
		CHECK(feed(torn, v->length, v->length, &f, &why) == -1);
	}
}

static void test_broken(const struct vector *v)
{
	size_t judged = strcmp(value_of(v, "header"), "yes") == 0 ? HEADER_BYTES : v->length;
	struct frame f;
	const char *why = NULL;

	for (size_t piece = 1; piece <= v->length; piece++) {
		decoder_reset(&decoder);
		CHECK(feed(v->bytes, judged - 1, piece, &f, &why) == 0);
		CHECK(feed(v->bytes + judged - 1, 1, 1, &f, &why) == -1);
		CHECK(why && *why);
	}
}

static void test_preamble(const struct vector *v)
{
	uint8_t epoch[16], wrong[16], echo[16];
	struct preamble p;

	unhex(value_of(v, "echo"), echo, 16);
	memset(wrong, 0x55, 16);
	for (size_t garbage = 0; garbage < 40; garbage++) {
		decoder_reset(&decoder);
		/* Garbage that begins like a preamble, then one byte at a time. */
		memcpy(decoder.bytes, v->bytes, garbage);
		decoder.tail = garbage;
		for (size_t i = 0; i < v->length; i++) {
			CHECK(decoder_preamble(&decoder, echo, &p) == 0);
			decoder.bytes[decoder.tail++] = v->bytes[i];
		}
		CHECK(decoder_preamble(&decoder, echo, &p) == 1);
		CHECK(decoder.head == decoder.tail);
	}
	CHECK(p.version_min == number_of(v, "version_min"));
	CHECK(p.version_max == number_of(v, "version_max"));
	CHECK(p.features == number_of(v, "features"));
	CHECK(p.role == number_of(v, "role"));
	unhex(value_of(v, "epoch"), epoch, 16);
	CHECK(memcmp(p.epoch, epoch, 16) == 0 && memcmp(p.echo, echo, 16) == 0);
	/* An answer to somebody else is skipped. */
	decoder_reset(&decoder);
	memcpy(decoder.bytes, v->bytes, v->length);
	decoder.tail = v->length;
	CHECK(decoder_preamble(&decoder, wrong, &p) == 0);
	CHECK(decoder.head == decoder.tail);
	if (p.role == ROLE_CLIENT) {
		uint8_t out[PREAMBLE_BYTES];
		preamble_encode(out, epoch);
		CHECK(memcmp(out, v->bytes, PREAMBLE_BYTES) == 0);
	}
}

static void test_vector(const struct vector *v)
{
	const char *kind;

	if (v->length == 0)
		return;
	where = v->name;
	kind = value_of(v, "kind");
	if (strcmp(kind, "frame") == 0)
		test_frame(v);
	else if (strcmp(kind, "broken") == 0)
		test_broken(v);
	else if (strcmp(kind, "preamble") == 0)
		test_preamble(v);
	else
		CHECK(!"a known kind");
}

static int test_vectors(const char *path)
{
	static struct vector v;
	static char line[16384];
	FILE *file = fopen(path, "r");
	int count = 0;

	if (!file) {
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof line, file)) {
		char *colon = strchr(line, ':'), *equals = strchr(line, '=');
		line[strcspn(line, "\n")] = 0;
		if (line[0] == '#' || line[0] == 0)
			continue;
		if (colon && (!equals || colon < equals)) {
			test_vector(&v);
			memset(&v, 0, sizeof v);
			*colon = 0;
			snprintf(v.name, sizeof v.name, "%.63s", line);
			v.length = unhex(colon + 2, v.bytes, sizeof v.bytes);
			count++;
		} else if (equals && v.count < 16) {
			*equals = 0;
			snprintf(v.keys[v.count], sizeof v.keys[0], "%.15s", line);
			snprintf(v.values[v.count++], sizeof v.values[0], "%.4095s", equals + 1);
		}
	}
	test_vector(&v);
	fclose(file);
	return count;
}

/* ---- without vectors ---- */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Frames of every size up to the largest, given in pieces of `piece` bytes. */
static void test_many(size_t piece, int frames)
{
	static uint8_t one[FRAME_BYTES_MAX];
	double start = seconds();
	uint64_t offset = 0, seen = 0;
	int got = 0;

	where = "many frames";
	decoder_reset(&decoder);
	for (int i = 0; i < frames; i++) {
		size_t length = i % 97 == 0 ? PAYLOAD_BYTES_MAX : 1 + (size_t)i * 7919 % 1500;
		struct frame f = { .length = (uint32_t)length, .type = FRAME_DATA, .id = 30, .generation = 1, .offset = offset };
		header_encode(one, &f);
		memset(one + HEADER_BYTES, i & 0xff, length);
		memcpy(one + HEADER_BYTES + length, frame_trailer, TRAILER_BYTES);
		offset += length;
		for (size_t at = 0, whole = HEADER_BYTES + length + TRAILER_BYTES; at < whole;) {
			struct frame out;
			const char *why;
			uint8_t *to;
			size_t room = decoder_space(&decoder, &to), now = whole - at < piece ? whole - at : piece;
			now = now < room ? now : room;
			CHECK(now > 0);
			memcpy(to, one + at, now);
			decoder_filled(&decoder, now);
			at += now;
			while (decoder_next(&decoder, &out, &why) == 1) {
				CHECK(out.offset == seen && out.payload[0] == (got & 0xff));
				seen += out.length;
				got++;
			}
		}
	}
	CHECK(got == frames && seen == offset);
	CHECK(seconds() - start < 5);
}

static void test_garbage(void)
{
	unsigned int seed = 1;

	where = "garbage";
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[64];
		struct frame f;
		struct preamble p;
		const char *why;
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)rand_r(&seed);
		/* Half of them look sane at first sight. */
		if (round % 2) {
			memset(bytes, 0, HEADER_BYTES);
			bytes[0] = (uint8_t)rand_r(&seed);
			bytes[4] = (uint8_t)(rand_r(&seed) % 0x24);
		}
		decoder_reset(&decoder);
		int result = feed(bytes, sizeof bytes, 1 + (size_t)round % 64, &f, &why);
		CHECK(result == 0 || result == -1);
		decoder_reset(&decoder);
		memcpy(decoder.bytes, bytes, sizeof bytes);
		decoder.tail = sizeof bytes;
		CHECK(decoder_preamble(&decoder, bytes, &p) == 0);
	}
}

static void test_ring(void)
{
	uint8_t memory[13], model[13];
	struct ring r = { .bytes = memory, .size = sizeof memory };
	size_t held = 0;
	unsigned int seed = 7;
	uint8_t next = 0;

	where = "ring";
	for (int round = 0; round < 100000; round++) {
		struct iovec piece[2];
		size_t add = (size_t)rand_r(&seed) % (sizeof memory - held + 1), seen = 0;
		uint8_t fresh[13];
		for (size_t i = 0; i < add; i++)
			fresh[i] = model[held + i] = next++;
		if (round % 2) {
			ring_put(&r, fresh, add);
		} else {
			int count = ring_free_pieces(&r, piece);
			for (int i = 0; i < count && seen < add; i++)
				for (size_t j = 0; j < piece[i].iov_len && seen < add; j++)
					((uint8_t *)piece[i].iov_base)[j] = fresh[seen++];
			ring_added(&r, add);
		}
		held += add;
		CHECK(r.length == held);
		size_t skip = held ? (size_t)rand_r(&seed) % held : 0;
		seen = skip;
		for (int i = 0, count = ring_pieces(&r, skip, held - skip, piece); i < count; i++)
			for (size_t j = 0; j < piece[i].iov_len; j++)
				CHECK(((uint8_t *)piece[i].iov_base)[j] == model[seen++]);
		CHECK(seen == held);
		size_t drop = (size_t)rand_r(&seed) % (held + 1);
		ring_drop(&r, drop);
		memmove(model, model + drop, held - drop);
		held -= drop;
	}
}

static void test_sender(void)
{
	static uint8_t memory[100];
	struct sender s = { .ring = { .bytes = memory, .size = sizeof memory } };
	const char *why;

	where = "sender";
	ring_added(&s.ring, 60);
	CHECK(sender_ready(&s, 1) == 0);
	CHECK(sender_attached(&s, 1000, 1040, &why) == 0); /* an earlier owner has sent 1000 */
	CHECK(s.base == 1000 && s.next == 1000 && sender_end(&s) == 1060);
	CHECK(sender_ready(&s, 1) == 40 && sender_ready(&s, 16) == 32);
	s.next += 40;
	CHECK(sender_ready(&s, 1) == 0);
	CHECK(sender_window(&s, 1041, 1100, &why) == -1); /* never sent */
	CHECK(sender_window(&s, 1010, 1039, &why) == -1); /* credit taken back */
	CHECK(sender_window(&s, 1010, 1100, &why) == 0);
	CHECK(s.base == 1010 && sender_ready(&s, 1) == 20 && sender_room(&s) == 50);
	CHECK(sender_window(&s, 1009, 1100, &why) == -1);
	/* Again: received up to 1030, delivered up to 1010. */
	CHECK(sender_attached(&s, 1030, 1050, &why) == 0);
	CHECK(s.base == 1030 && sender_ready(&s, 1) == 20);
	CHECK(sender_window(&s, 1015, 1050, &why) == 0 && s.base == 1030);
	CHECK(sender_window(&s, 1014, 1050, &why) == -1);
	CHECK(sender_attached(&s, 1029, 1100, &why) == -1);
	CHECK(sender_attached(&s, 1061, 1100, &why) == -1);
	CHECK(sender_attached(&s, 1030, 1029, &why) == -1);
	CHECK(sender_attached(&s, 1030, OFFSET_MAX + 1, &why) == -1);
	sender_finish(&s);
	CHECK(s.final == 1060 && s.eof_owed && sender_room(&s) == 0);
	s.eof_owed = false;
	CHECK(sender_attached(&s, 1030, 1100, &why) == 0 && s.eof_owed);
	sender_stop(&s);
	CHECK(s.final == 1060 && sender_ready(&s, 1) == 0 && s.ring.length == 0);
	CHECK(sender_window(&s, 1, 1, &why) == 0); /* ignored now */
	CHECK(sender_attached(&s, 1030, 1100, &why) == 0 && s.eof_owed && sender_ready(&s, 1) == 0);
}

static void test_receiver(void)
{
	static uint8_t memory[100];
	struct receiver r = { .ring = { .bytes = memory, .size = sizeof memory } };
	const char *why;
	size_t skip;

	where = "receiver";
	receiver_attach(&r);
	CHECK(r.granted == 100 && receiver_attached(&r, 0, &why) == 0 && !receiver_window_due(&r));
	CHECK(receiver_data(&r, 1, 1, &skip, &why) == -1);   /* a gap */
	CHECK(receiver_data(&r, 0, 101, &skip, &why) == -1); /* beyond the limit */
	CHECK(receiver_data(&r, 0, 30, &skip, &why) == 0 && skip == 0);
	receiver_delivered(&r, 24);
	ring_put(&r.ring, memory, 6);
	CHECK(!receiver_window_due(&r));
	receiver_delivered(&r, 1);
	ring_drop(&r.ring, 1);
	CHECK(receiver_window_due(&r) && receiver_grant(&r) == 125 && !receiver_window_due(&r));
	CHECK(receiver_data(&r, 20, 15, &skip, &why) == 0 && skip == 10 && r.expected == 35);
	ring_put(&r.ring, memory, 5);
	CHECK(receiver_data(&r, 0, 35, &skip, &why) == 0 && skip == 35);
	/* Attached again: what is in the ring is sent again and skipped. */
	receiver_attach(&r);
	CHECK(r.granted == 125 && receiver_attached(&r, 24, &why) == -1);
	CHECK(receiver_attached(&r, 25, &why) == 0);
	CHECK(receiver_attached(&r, 26, &why) == 1); /* somebody else was given a byte */
	CHECK(receiver_final(&r, 34, &why) == -1);
	CHECK(receiver_final(&r, 40, &why) == 0 && receiver_final(&r, 41, &why) == -1);
	CHECK(receiver_data(&r, 35, 6, &skip, &why) == -1); /* beyond the end */
	CHECK(receiver_data(&r, 35, 5, &skip, &why) == 0 && receiver_has_all(&r) && !receiver_done(&r));
	ring_put(&r.ring, memory, 5);
	receiver_delivered(&r, 15);
	ring_drop(&r.ring, 15);
	CHECK(receiver_done(&r) && receiver_window_due(&r));

	/* An end that was reached stays; one that was not may have been moved down by another owner's STOP. */
	receiver_attach(&r);
	CHECK(receiver_attached(&r, 40, &why) == 0 && receiver_done(&r) && receiver_final(&r, 39, &why) == -1);
	r = (struct receiver){ .ring = { .bytes = memory, .size = sizeof memory } };
	receiver_attach(&r);
	CHECK(receiver_attached(&r, 0, &why) == 0 && receiver_final(&r, 40, &why) == 0);
	CHECK(receiver_data(&r, 0, 20, &skip, &why) == 0 && receiver_final(&r, 30, &why) == -1);
	receiver_attach(&r);
	CHECK(receiver_attached(&r, 0, &why) == 0 && !receiver_has_all(&r));
	CHECK(receiver_final(&r, 30, &why) == 0 && !receiver_has_all(&r));
	CHECK(receiver_data(&r, 20, 10, &skip, &why) == 0 && receiver_has_all(&r));
	r = (struct receiver){ .ring = { .bytes = memory, .size = sizeof memory } };
	receiver_attach(&r);
	CHECK(receiver_attached(&r, 1000, &why) == 0 && r.expected == 1000 && receiver_window_due(&r));
	CHECK(receiver_grant(&r) == 1100);
	receiver_stop(&r);
	CHECK(r.stop_owed && receiver_done(&r));
	r.stop_owed = false;
	CHECK(receiver_data(&r, 1000, 50, &skip, &why) == 0 && skip == 50 && r.delivered == 1050);
	CHECK(!receiver_window_due(&r) && receiver_final(&r, 1020, &why) == 0);
	receiver_attach(&r);
	CHECK(receiver_attached(&r, 1050, &why) == 0 && r.stop_owed);
}

static void test_text(void)
{
	char out[64], json[64];
	static const uint8_t mixed[] = "ok \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \x1b[2J \xc2\x9b \xc0\x80 \xed\xa0\x80 \xff\n\t\x7f";

	where = "text";
	text_clean(out, sizeof out, mixed, sizeof mixed - 1);
	CHECK(strcmp(out, "ok \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 ?[2J ?? ?? ??? ?\n\t?") == 0);
	text_clean(out, 6, mixed, sizeof mixed - 1);
	CHECK(strcmp(out, "ok \xc3\xa4") == 0);
	text_clean(out, 5, mixed, sizeof mixed - 1);
	CHECK(strcmp(out, "ok ") == 0);
	text_json(json, sizeof json, "a\"b\\c\nd");
	CHECK(strcmp(json, "a\\\"b\\\\c\\u000ad") == 0);
	/* Found by fuzzing: a text that was cut to fit ended in half a character, and the exit file, which is
	 * JSON, was no UTF-8 then. */
	text_json(json, 6, "abc\xe2\x82\xac");
	CHECK(strcmp(json, "abc") == 0);
	text_json(json, 7, "abc\xe2\x82\xac");
	CHECK(strcmp(json, "abc\xe2\x82\xac") == 0);
	strcpy(out, "abc\xe2\x82");
	text_trim(out);
	CHECK(strcmp(out, "abc") == 0);
	text_trim(out);
	CHECK(strcmp(out, "abc") == 0);
}

/* The title takes the place of argv, whose options are still there afterwards. */
static void test_title(void)
{
	char memory[] = "shim\0--socket\0a.sock\0--\0sleep\0001000";
	char *argv[] = { memory, memory + 5, memory + 14, memory + 21, memory + 24, memory + 30, NULL };
	struct options o = { .socket = memory + 14, .on_network = { memory + 14 }, .title = argv + 4 };
	static const char wanted[sizeof memory] = "sleep\0001000";

	where = "title";
	CHECK(title_show(&o, argv) == 0);
	CHECK(memcmp(memory, wanted, sizeof memory) == 0);
	CHECK(strcmp(o.socket, "a.sock") == 0);
	CHECK(strcmp(o.on_network[0], "a.sock") == 0 && !o.on_network[1]);
	free(o.on_network[0]);
	free((char *)(uintptr_t)o.socket);
	o = (struct options){ .title = argv + 6 };
	CHECK(title_show(&o, argv) == 0 && strcmp(memory, "sleep") == 0);
}

int main(int argc, char **argv)
{
	int vectors = argc > 1 ? test_vectors(argv[1]) : 0;

	if (vectors < 40) {
		fprintf(stderr, "usage: unit test/vectors/frames.txt (%d vectors read)\n", vectors);
		return 1;
	}
	test_many(1, 10000);
	test_many(SIZE_MAX, 10000);
	test_many(777, 10000);
	test_garbage();
	test_ring();
	test_sender();
	test_receiver();
	test_text();
	test_title();
	printf("shim: %d vectors, %d checks, all good\n", vectors, checks);
	return 0;
}
