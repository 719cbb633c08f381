/* An agent, and the proxy before it, that keep the rules and know when the shim does not. */
#include <string.h>
#include <sys/wait.h>

#include "world.h"

#define ID(stream) (PROCESS * 4 + (stream))

void peer_connected(void)
{
	decoder_reset(&world.sent);
	world.greeted = world.said_goodbye = world.attached = world.deaf = false;
	world.awaited = AWAIT_NOTHING;
}

void peer_closed(void)
{
	world.attached = false;
	world.awaited = AWAIT_NOTHING;
}

/* ---- what the shim sends ---- */

static void on_attach(const struct frame *f)
{
	MUST((world.awaited == AWAIT_NOTHING && !world.attached) || world.tainted);
	MUST(f->generation != 0 && f->generation != world.generation);
	world.last_generation = world.generation;
	world.generation = f->generation;
	for (int i = 0; i < 2; i++) {
		struct peer_output *out = &world.outputs[i];
		uint64_t delivered = load64(f->payload + 16 + 16 * i);
		MUST(delivered <= out->sent || world.tainted);
		world.asked[i] = delivered;
		out->limit = load64(f->payload + 24 + 16 * i);
		MUST(out->limit <= delivered + STDOUT_RING_BYTES);
	}
	world.awaited = AWAIT_ATTACHED;
}

static void on_record(const uint8_t *record)
{
	MUST(record[1] == 0 && record[6] == 0 && record[7] == 0);
	if (record[0] == RECORD_RESIZE)
		return;
	MUST(record[0] == RECORD_SIGNAL);
	/* Each signal once and in order. */
	MUST(record[2] == 1 + world.signals_seen % 64 || world.tainted);
	world.signals_seen++;
}

static void on_data(const struct frame *f)
{
	unsigned int stream = f->id % 4;
	struct peer_input *in = &world.inputs[stream];

	MUST(stream <= STDIN && f->length > 0);
	MUST(stream != CONTROL || f->length % CONTROL_RECORD_BYTES == 0);
	if (in->stopped || world.tainted)
		return;
	MUST(f->offset == in->expected);
	MUST(f->offset + f->length <= in->limit);
	MUST(!in->has_final || f->offset + f->length <= in->final);
	for (size_t k = 0; k < f->length; k++)
		if (stream == STDIN)
			MUST(f->payload[k] == pattern(STDIN, f->offset - in->prefix + k));
		else if (k % CONTROL_RECORD_BYTES == 0)
			on_record(f->payload + k);
	in->expected += f->length;
}

static void on_eof(const struct frame *f)
{
	struct peer_input *in = &world.inputs[STDIN];

	MUST(f->id == ID(STDIN));
	if (in->stopped || world.tainted)
		return;
	MUST(f->offset >= in->expected && (!in->has_final || in->final == f->offset));
	MUST(f->offset == in->prefix + world.in_read);
	in->final = f->offset;
	in->has_final = true;
}

static void on_window(const struct frame *f)
{
	struct peer_output *out = &world.outputs[f->id % 4 - STDOUT];
	uint64_t limit = load64(f->payload);

	MUST(f->id % 4 >= STDOUT);
	if (world.tainted)
		return;
	MUST(f->offset <= out->sent && f->offset >= out->delivered && limit >= out->limit);
	out->delivered = f->offset;
	out->limit = limit;
}

static void on_stop(const struct frame *f)
{
	struct peer_output *out = &world.outputs[f->id % 4 - STDOUT];

	MUST(f->id % 4 >= STDOUT && (world.out_error[f->id % 4 - STDOUT] || world.tainted));
	if (out->stopped)
		return;
	out->stopped = true;
	if (!out->has_final) {
		out->has_final = true;
		out->final = out->end;
	}
	out->next = out->end;
}

static void on_frame(const struct frame *f)
{
	MUST(!world.said_goodbye && f->flags == 0);
	if (f->type == FRAME_GOAWAY) {
		/* Who keeps the rules is never told otherwise. */
		MUST(load32(f->payload) == 3 && world.tainted);
		world.said_goodbye = true;
		return;
	}
	if (f->type == FRAME_BIND) {
		MUST((world.awaited == AWAIT_NOTHING || world.tainted) && f->length == 5 && memcmp(f->payload, "box-1", 5) == 0);
		world.awaited = AWAIT_BOUND;
		return;
	}
	MUST(f->id / 4 == PROCESS);
	if (f->type == FRAME_ATTACH) {
		on_attach(f);
		return;
	}
	MUST(f->generation == world.generation && (world.attached || world.tainted));
	switch (f->type) {
	case FRAME_DATA:
		on_data(f);
		return;
	case FRAME_EOF:
		on_eof(f);
		return;
	case FRAME_WINDOW:
		on_window(f);
		return;
	case FRAME_STOP:
		on_stop(f);
		return;
	}
	bool is_sent_by_clients = false;
	MUST(is_sent_by_clients);
}

static void take_preamble(void)
{
	uint8_t expected[PREAMBLE_BYTES];

	preamble_encode(expected, world.shim.link.epoch);
	MUST(memcmp(world.sent.bytes + world.sent.head, expected, sizeof expected) == 0);
	world.sent.head += PREAMBLE_BYTES;
	world.greeted = true;
	world.awaited = AWAIT_PREAMBLE;
}

void peer_take(const uint8_t *bytes, size_t length)
{
	struct frame f;
	const char *why;
	int result;

	while (length > 0 && !world.deaf) {
		uint8_t *to;
		size_t room = decoder_space(&world.sent, &to), now = length < room ? length : room;
		memcpy(to, bytes, now);
		decoder_filled(&world.sent, now);
		bytes += now;
		length -= now;
		if (!world.greeted && world.sent.tail - world.sent.head >= PREAMBLE_BYTES)
			take_preamble();
		if (!world.greeted)
			continue;
		while ((result = decoder_next(&world.sent, &f, &why)) > 0)
			on_frame(&f);
		MUST(result == 0);
	}
}

/* ---- what the shim gets ---- */

void peer_raw(const void *bytes, size_t length)
{
	if (!world.connected || world.in_closed || world.in_tail + length > sizeof world.incoming)
		return;
	memcpy(world.incoming + world.in_tail, bytes, length);
	world.in_tail += length;
}

void peer_frame(const struct frame *f)
{
	uint8_t header[HEADER_BYTES];

	if (!world.connected || world.in_closed ||
	    world.in_tail + HEADER_BYTES + f->length + TRAILER_BYTES > sizeof world.incoming)
		return;
	header_encode(header, f);
	peer_raw(header, sizeof header);
	if (f->length > 0)
		peer_raw(f->payload, f->length);
	peer_raw(frame_trailer, TRAILER_BYTES);
}

static bool has_room(size_t payload)
{
	return world.connected && !world.in_closed &&
	       world.in_tail + HEADER_BYTES + payload + TRAILER_BYTES <= sizeof world.incoming;
}

static void answer_attach(void)
{
	uint8_t payload[48];

	for (int i = 0; i < 2; i++) {
		struct peer_input *in = &world.inputs[i];
		struct peer_output *out = &world.outputs[i];
		size_t at = i == STDIN ? 0 : 16;
		in->limit = in->delivered + (i == STDIN ? AGENT_WINDOW : CONTROL_WINDOW);
		store64(payload + at, in->expected);
		store64(payload + at + 8, in->limit);
		/* An earlier owner may have been given more than this one asks for. */
		uint64_t start = world.asked[i] > out->delivered ? world.asked[i] : out->delivered;
		out->next = out->stopped ? out->end : start;
		out->delivered = start;
		store64(payload + 32 + 8 * i, start);
	}
	world.attached = true;
	peer_frame(&(struct frame){ .type = FRAME_ATTACHED, .id = ID(0), .generation = world.generation,
				    .length = sizeof payload, .payload = payload });
	for (unsigned int i = 0; i < 2; i++)
		if (world.inputs[i].stopped)
			peer_frame(&(struct frame){ .type = FRAME_STOP, .id = ID(i), .generation = world.generation });
}

void peer_answer(void)
{
	enum awaited awaited = world.awaited;
	uint8_t preamble[PREAMBLE_BYTES];

	if (!has_room(256))
		return;
	world.awaited = AWAIT_NOTHING;
	switch (awaited) {
	case AWAIT_NOTHING:
		return;
	case AWAIT_PREAMBLE:
		preamble_encode(preamble, world.shim.link.epoch);
		memset(preamble + 24, 0x11, 16);
		memcpy(preamble + 40, world.shim.link.epoch, 16);
		preamble[56] = ROLE_PROXY;
		peer_raw(preamble, sizeof preamble);
		return;
	case AWAIT_BOUND:
		peer_frame(&(struct frame){ .type = FRAME_BOUND });
		return;
	case AWAIT_ATTACHED:
		answer_attach();
		return;
	}
}

static void send_pattern(unsigned int i, uint64_t offset, size_t length, uint32_t generation)
{
	static uint8_t payload[PAYLOAD_BYTES_MAX];

	for (size_t k = 0; k < length; k++)
		payload[k] = pattern(STDOUT + i, offset + k);
	peer_frame(&(struct frame){ .type = FRAME_DATA, .id = ID(STDOUT + i), .generation = generation, .offset = offset,
				    .length = (uint32_t)length, .payload = payload });
}

/* The next DATA, beginning up to `back` bytes earlier than it has to. */
void peer_data(unsigned int i, size_t length, size_t back)
{
	struct peer_output *out = &world.outputs[i];
	uint64_t most = out->end < out->limit ? out->end : out->limit;
	uint64_t from = out->next - out->delivered < back ? out->delivered : out->next - back;

	if (!world.attached || out->stopped || most <= out->next)
		return;
	length = length < most - from ? length : (size_t)(most - from);
	length = length < PAYLOAD_BYTES_MAX ? length : PAYLOAD_BYTES_MAX;
	if (length == 0 || !has_room(length))
		return;
	send_pattern(i, from, length, world.generation);
	if (from + length > out->next)
		out->next = from + length;
	if (out->next > out->sent)
		out->sent = out->next;
}

/* Left over from the attachment before: to be ignored, whatever it says. */
void peer_data_of_old(unsigned int i)
{
	if (world.attached && world.last_generation != 0 && has_room(8))
		send_pattern(i, world.outputs[i].sent + 4096, 8, world.last_generation);
}

static void finish_output(struct peer_output *out)
{
	if (!out->has_final)
		out->final = out->end;
	out->has_final = true;
}

void peer_eof(unsigned int i)
{
	struct peer_output *out = &world.outputs[i];

	if (!world.attached || !has_room(0))
		return;
	finish_output(out);
	peer_frame(&(struct frame){ .type = FRAME_EOF, .id = ID(STDOUT + i), .generation = world.generation,
				    .offset = out->final });
}

void peer_exit(void)
{
	uint8_t payload[24 + 4] = { CAUSE_EXITED };

	if (!world.attached || !has_room(sizeof payload))
		return;
	for (int i = 0; i < 2; i++) {
		finish_output(&world.outputs[i]);
		store64(payload + 8 + 8 * i, world.outputs[i].final);
	}
	store32(payload + 4, world.exit_code << 8);
	memcpy(payload + 24, "done", 4);
	world.exited = true;
	peer_frame(&(struct frame){ .type = FRAME_EXIT, .id = ID(0), .generation = world.generation,
				    .length = sizeof payload, .payload = payload });
}

void peer_window(unsigned int stream, size_t bytes)
{
	struct peer_input *in = &world.inputs[stream];
	uint8_t limit[8];

	if (!world.attached || in->stopped || !has_room(sizeof limit))
		return;
	uint64_t held = in->expected - in->delivered;
	in->delivered += bytes < held ? bytes : held;
	in->limit = in->delivered + (stream == STDIN ? AGENT_WINDOW : CONTROL_WINDOW);
	store64(limit, in->limit);
	peer_frame(&(struct frame){ .type = FRAME_WINDOW, .id = ID(stream), .generation = world.generation,
				    .offset = in->delivered, .length = sizeof limit, .payload = limit });
}

void peer_stop(unsigned int stream)
{
	if (!world.attached || !has_room(0))
		return;
	world.inputs[stream].stopped = true;
	peer_frame(&(struct frame){ .type = FRAME_STOP, .id = ID(stream), .generation = world.generation });
}

void peer_goaway(uint32_t code)
{
	uint8_t payload[4 + 3] = { (uint8_t)code, 0, 0, 0, 'b', 'y', 'e' };

	peer_frame(&(struct frame){ .type = FRAME_GOAWAY, .length = sizeof payload, .payload = payload });
	world_cut(UNLIMITED);
}
