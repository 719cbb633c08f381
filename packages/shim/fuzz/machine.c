/* The whole of the shim but its descriptors, driven by a program: each input is a list of steps, which an
 * agent, a proxy, the engine's readers and a saboteur take in turn. Mutations of a program are programs, so
 * the fuzzer gets past every check of the decoder.
 *
 * As long as the peer keeps the rules: bytes arrive once and in order both ways, signals too, the peer is
 * never accused, and at the end, when everybody behaves, the shim ends with the code of the process after
 * the last byte. When it does not: the sizes hold, and nothing is read or written out of bounds. */
#include <errno.h>
#include <string.h>

#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 400

static const uint8_t *program, *program_end;

static uint32_t next8(void)
{
	return program < program_end ? *program++ : 0;
}

static uint32_t next16(void)
{
	uint32_t low = next8();

	return low | next8() << 8;
}

/* ---- what always holds ---- */

static void check_output(const struct receiver *r)
{
	MUST(r->ring.length <= r->ring.size && r->ring.head < r->ring.size);
	MUST(r->delivered <= r->expected && r->announced <= r->delivered);
	MUST(r->expected - r->delivered == r->ring.length);
	MUST(r->granted <= OFFSET_MAX && r->expected <= OFFSET_MAX);
	MUST(r->stopped || r->expected <= (r->granted > r->announced ? r->granted : r->announced));
	MUST(!r->has_final || r->stopped || r->expected <= r->final);
}

static void check_input(const struct sender *s)
{
	MUST(s->ring.length <= s->ring.size && s->ring.head < s->ring.size);
	MUST(s->base <= s->next && s->next <= sender_end(s));
	MUST(s->limit <= OFFSET_MAX && (s->stopped || s->delivered <= s->next));
	MUST(!s->has_final || s->stopped || s->final == sender_end(s));
}

static bool is_utf8_start(uint8_t byte)
{
	return (byte & 0xC0) != 0x80;
}

static void check_message(const char *text)
{
	size_t length = strlen(text), last = length;

	MUST(length <= MESSAGE_BYTES_MAX);
	while (last > 0 && !is_utf8_start((uint8_t)text[last - 1]))
		last--;
	if (last == 0)
		return;
	uint8_t first = (uint8_t)text[last - 1];
	size_t bytes = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
	MUST(length - (last - 1) == bytes); /* no half of a character at its end */
}

static void describe(const struct shim *s)
{
	fprintf(stderr, "link state %d, ending %d (%s)\n", s->link.state, s->ending.cause, s->ending.message);
	for (int i = 0; i < 2; i++) {
		const struct receiver *r = &s->outputs[i].stream;
		const struct sender *from = i == STDIN ? &s->stdin_stream : &s->control;
		const struct peer_output *out = &world.outputs[i];
		const struct peer_input *in = &world.inputs[i];
		fprintf(stderr, "%s: delivered %lu expected %lu granted %lu final %lu%s; agent: next %lu end %lu limit %lu\n",
			s->outputs[i].name, r->delivered, r->expected, r->granted, r->has_final ? r->final : 0,
			r->stopped ? " stopped" : "", out->next, out->end, out->limit);
		fprintf(stderr, "%s: base %lu next %lu end %lu limit %lu%s%s; agent: expected %lu delivered %lu\n",
			i == STDIN ? "stdin" : "control", from->base, from->next, sender_end(from), from->limit,
			from->has_final ? " ended" : "", from->stopped ? " stopped" : "", in->expected, in->delivered);
	}
}

static void check(const struct shim *s)
{
	for (int i = 0; i < 2; i++)
		check_output(&s->outputs[i].stream);
	check_input(&s->control);
	check_input(&s->stdin_stream);
	check_message(s->ending.message);
	MUST((s->link.fd >= 0) == (s->link.state >= LINK_GREETING && s->link.state <= LINK_ATTACHED));
	MUST(s->link.retry_ms <= RETRY_LAST_MS && s->link.broken <= BROKEN_LINKS_MAX);
	MUST(s->link.out.count <= 32 && s->link.out.first <= s->link.out.count);
	if (world.tainted || world.dismissed)
		return;
	/* Nobody has broken a rule. */
	bool well = s->link.broken == 0 && (s->ending.cause == CAUSE_NONE || s->ending.cause == CAUSE_EXITED);
	if (!well)
		describe(s);
	MUST(well);
}

/* ---- steps ---- */

/* As the loop in main.c does it, with what poll(2) would find. */
static void turn(struct shim *s)
{
	if (link_is_needed(s))
		link_advance(s);
	link_send(s);
	for (int i = 0; i < 2; i++)
		if (s->outputs[i].stream.ring.length > 0 && (world.out_room[i] > 0 || world.out_error[i]))
			output_flush(&s->outputs[i]);
	if (shim_wants_input(s) && s->input.kind != DESCRIPTOR_CLOSED && (world.in_ready > 0 || world.in_ended))
		shim_read_input(s);
	if (s->link.fd >= 0 && (world.in_tail > world.in_head || world.in_closed))
		link_receive(s);
	check(s);
}

static void signal_or_size(struct shim *s, uint32_t a)
{
	if (!shim_control_has_room(s) || s->control.stopped)
		return;
	if (a & 1)
		shim_control(s, RECORD_RESIZE, (uint16_t)a, (uint16_t)(a * 3));
	else
		shim_control(s, RECORD_SIGNAL, (uint16_t)(1 + world.signals++ % 64), 0);
}

/* An offset near one that decides something. */
static uint64_t near_offset(const struct shim *s)
{
	const struct receiver *r = &s->outputs[next8() & 1].stream;
	const uint64_t bases[] = { 0, r->delivered, r->expected, r->granted, r->final, s->stdin_stream.base,
				   s->stdin_stream.next, sender_end(&s->stdin_stream), s->stdin_stream.limit,
				   s->control.next, s->control.limit, OFFSET_MAX, UINT64_C(1) << 32, UINT64_MAX };
	uint64_t base = bases[next8() % (sizeof bases / sizeof *bases)];

	return base + (uint64_t)(int64_t)(int8_t)next8();
}

/* Any frame that passes the decoder, and some that do not. */
static void wild_frame(const struct shim *s)
{
	static const uint8_t types[] = { FRAME_DATA, FRAME_EOF, FRAME_WINDOW, FRAME_STOP, FRAME_ATTACH, FRAME_ATTACHED,
					 FRAME_REFUSED, FRAME_EXIT, FRAME_DETACHED, FRAME_REQUEST, FRAME_RESPONSE,
					 FRAME_CANCEL, FRAME_BIND, FRAME_BOUND, FRAME_GOAWAY };
	static const uint16_t sizes[] = { 1, 0, 8, 0, 48, 48, 4, 24, 0, 0, 0, 0, 1, 0, 4 };
	static uint8_t payload[PAYLOAD_BYTES_MAX];
	uint32_t kind = next8() % sizeof types, how = next8();
	struct frame f = { .type = types[kind], .flags = how & 0x40 ? (uint8_t)next8() : 0,
			   .id = how & 1 ? next16() : PROCESS * 4 + (how >> 1 & 3),
			   .generation = how & 8 ? next16() : s->link.generation };

	world.tainted = true;
	if (f.type <= FRAME_WINDOW || how & 0x80)
		f.offset = near_offset(s);
	f.length = sizes[kind] + (how & 0x10 ? next16() % (MESSAGE_BYTES_MAX + 64) : how & 0x20 ? next8() : 0);
	if (f.length > PAYLOAD_BYTES_MAX)
		f.length = PAYLOAD_BYTES_MAX;
	if (f.type == FRAME_DATA && f.id % 4 >= STDOUT && how & 0x80) { /* to the end of the credit, or beyond */
		const struct receiver *r = &s->outputs[f.id % 4 - STDOUT].stream;
		uint64_t length = r->granted - r->expected + next8() % 4 - 1;
		f.offset = r->expected;
		f.length = (uint32_t)(length < PAYLOAD_BYTES_MAX ? length : PAYLOAD_BYTES_MAX);
	}
	uint8_t fill = (uint8_t)next8();
	for (size_t k = 0; k < f.length; k++) /* or text, in characters of three bytes */
		payload[k] = fill & 1 ? fill : (uint8_t)"\xE2\x82\xAC"[(k + fill) % 3];
	if (f.length >= 4 && f.type != FRAME_DATA)
		store32(payload, next8());
	if (f.type == FRAME_EXIT)
		store32(payload + 4, next16());
	for (uint32_t at = f.type == FRAME_EXIT ? 8 : 0; at + 8 <= f.length && at < 48 && f.type <= FRAME_EXIT; at += 8)
		store64(payload + at, near_offset(s));
	f.payload = payload;
	peer_frame(&f);
}

static void raw_bytes(void)
{
	size_t length = next8(), have = (size_t)(program_end - program);

	world.tainted = true;
	length = length < have ? length : have;
	peer_raw(program, length);
	program += length;
}

static void break_output(unsigned int i, uint32_t which)
{
	static const int errors[] = { EPIPE, EIO, ENOSPC, ECONNRESET };

	world.out_error[i] = errors[which % 4];
}

static void open_output(unsigned int i, uint32_t room)
{
	world.out_room[i] = room >= 0xfff0 ? UNLIMITED : room * 8;
}

static void write_output(unsigned int i, uint32_t bytes)
{
	struct peer_output *out = &world.outputs[i];

	if (!out->has_final && !out->stopped && !world.exited)
		out->end += bytes;
}

static void dismiss(uint32_t code)
{
	if (!world.connected || world.in_closed)
		return;
	world.dismissed |= code != 8 && code != 10;
	peer_goaway(code);
}

static void step(struct shim *s)
{
	uint32_t op = next8(), i = op >> 5 & 1;

	switch (op & 0x1f) {
	case 0: case 1: peer_answer(); break;
	case 2: write_output(i, next16()); break;
	case 3: write_output(i, 1 + next8()); peer_data(i, PAYLOAD_BYTES_MAX, 0); break;
	case 4: peer_data(i, 1 + next16(), 0); break;
	case 5: peer_data(i, PAYLOAD_BYTES_MAX, next16()); break;
	case 6: peer_data_of_old(i); break;
	case 7: peer_eof(i); break;
	case 8: world.exit_code = world.exited ? world.exit_code : op; peer_exit(); break;
	case 9: peer_window(i, next16() * 8); break;
	case 10: peer_stop(i); break;
	case 11: open_output(i, next16()); break;
	case 12: break_output(i, next8()); break;
	case 13: world.in_ready += next16(); break;
	case 14: world.in_ended = next8() & 1; break;
	case 15: signal_or_size(s, next8()); break;
	case 16: world_cut(next16()); break;
	case 17: world.deaf = world.connected; break;
	case 18: world.recv_most = 1 + next16(); break;
	case 19: world.send_room = next8() & 1 ? UNLIMITED : next16(); break;
	case 20: dismiss(next8() % 18); break;
	case 21: raw_bytes(); break;
	case 22: case 23: wild_frame(s); break;
	default: s->link.retry_at_ms = 0; break; /* time has passed */
	}
	if (!(op & 0x80))
		turn(s);
}

/* ---- the end ---- */

static bool input_is_over(const struct shim *s, unsigned int stream)
{
	const struct sender *from = stream == STDIN ? &s->stdin_stream : &s->control;
	const struct peer_input *in = &world.inputs[stream];

	return in->stopped || (from->numbered && in->expected == sender_end(from) && from->ring.length == 0);
}

static void everybody_behaves(struct shim *s)
{
	world.recv_most = world.send_room = UNLIMITED;
	world.out_room[0] = world.out_room[1] = UNLIMITED;
	world.in_ended = true;
	s->link.retry_at_ms = 0;
	if (world.deaf || world.in_closed)
		world_cut(0);
	turn(s);
	peer_answer();
	for (unsigned int i = 0; i < 2; i++) {
		peer_data(i, PAYLOAD_BYTES_MAX, 0);
		peer_window(i, UNLIMITED);
	}
}

/* From wherever the program has left it. An exit that was told is told again after each attach. */
static void finish_well(struct shim *s)
{
	for (int round = 0; round < 600 && !shim_is_over(s); round++) {
		everybody_behaves(s);
		bool told = world.inputs[STDIN].has_final || world.inputs[STDIN].stopped;
		bool all_read = told && input_is_over(s, STDIN) && input_is_over(s, CONTROL);
		if (world.exited || all_read)
			peer_exit();
	}
	if (!shim_is_over(s))
		describe(s);
	MUST(shim_is_over(s));
	MUST(s->ending.cause == CAUSE_EXITED && s->ending.status == (int)(world.exit_code << 8));
	for (int i = 0; i < 2; i++)
		MUST(world.out_error[i] || world.out_written[i] == world.outputs[i].end);
	if (!world.inputs[CONTROL].stopped && input_is_over(s, CONTROL))
		MUST(world.signals_seen == world.signals);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shim *s = &world.shim;

	program = data;
	program_end = data + size;
	uint64_t stdin_prefix = next8(), control_prefix = next8() * CONTROL_RECORD_BYTES;
	uint64_t stdout_prefix = next16() * 16, stderr_prefix = next8();
	world_reset(stdin_prefix, control_prefix, stdout_prefix, stderr_prefix);
	for (int steps = 0; steps < STEPS_MAX && program < program_end && !shim_is_over(s); steps++)
		step(s);
	for (int turns = 0; turns < 3 && !shim_is_over(s); turns++)
		turn(s);
	if (!world.tainted && !world.dismissed)
		finish_well(s);
	return 0;
}
