/* Frames in: each is judged, then acted on. Handlers return 0, or -1 with `*why` when the peer broke
 * the rules of docs/protocol.md; the connection ends then. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "link.h"
#include "text.h"

/* The canonical RPC codes that decide what happens next. */
enum { CODE_NOT_FOUND = 5, CODE_EXHAUSTED = 8, CODE_ABORTED = 10, CODE_UNAVAILABLE = 14 };

static const char *const code_names[] = {
	"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
};

static const char *code_name(uint32_t code)
{
	return code < sizeof code_names / sizeof *code_names ? code_names[code] : "unknown code";
}

static int on_data(struct shim *s, const struct frame *f, uint32_t stream, const char **why)
{
	struct output *o = &s->outputs[stream - STDOUT];
	size_t skip;

	if (receiver_data(&o->stream, f->offset, f->length, &skip, why) < 0)
		return -1;
	if (skip < f->length) {
		s->link.broken = 0;
		output_take(o, f->payload + skip, f->length - skip);
	}
	return 0;
}

static int on_window(struct shim *s, const struct frame *f, uint32_t stream, const char **why)
{
	struct sender *to = stream == STDIN ? &s->stdin_stream : &s->control;

	return sender_window(to, f->offset, load64(f->payload), why);
}

static int on_stop(struct shim *s, uint32_t stream)
{
	if (stream == STDIN) {
		sender_stop(&s->stdin_stream);
		shim_stop_input(s);
	} else {
		sender_stop(&s->control);
		s->control.eof_owed = false;
	}
	return 0;
}

static int on_final(struct output *o, uint64_t final, const char **why)
{
	if (receiver_final(&o->stream, final, why) < 0)
		return -1;
	output_finish(o);
	return 0;
}

static int on_exit_frame(struct shim *s, const struct frame *f, const char **why)
{
	uint32_t cause = load32(f->payload);
	int status = (int)load32(f->payload + 4);
	char message[MESSAGE_BYTES_MAX + 1];

	if (cause < CAUSE_EXITED || cause > CAUSE_START_FAILED || (!WIFEXITED(status) && !WIFSIGNALED(status))) {
		*why = "EXIT with an unknown cause or status";
		return -1;
	}
	for (int i = 0; i < 2; i++)
		if (on_final(&s->outputs[i], load64(f->payload + 8 + 8 * i), why) < 0)
			return -1;
	text_clean(message, sizeof message, f->payload + 24, f->length - 24);
	shim_end(s, (enum cause)cause, status, "%s", message);
	return 0;
}

static int on_attached(struct shim *s, const struct frame *f, const char **why)
{
	const uint8_t *p = f->payload;
	int lost = 0;

	if (load64(p + 16) % CONTROL_RECORD_BYTES != 0) {
		*why = "ATTACHED in the middle of a control record";
		return -1;
	}
	if (sender_attached(&s->stdin_stream, load64(p), load64(p + 8), why) < 0 ||
	    sender_attached(&s->control, load64(p + 16), load64(p + 24), why) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		int result = receiver_attached(&s->outputs[i].stream, load64(p + 32 + 8 * i), why);
		if (result < 0)
			return -1;
		lost |= result;
	}
	if (lost) {
		link_fail(s, CAUSE_DATA_LOSS, "another client has been given a part of the output");
		return 0;
	}
	s->link.state = LINK_ATTACHED;
	s->link.was_attached = true;
	s->link.retry_ms = RETRY_FIRST_MS;
	ready(s);
	return 0;
}

static void attach(struct shim *s)
{
	uint8_t payload[48];
	uint32_t last = s->link.generation;

	while (s->link.generation == last || s->link.generation == 0)
		(void)!getrandom(&s->link.generation, sizeof s->link.generation, 0);
	memcpy(payload, s->options.token, 16);
	for (int i = 0; i < 2; i++) {
		struct receiver *r = &s->outputs[i].stream;
		receiver_attach(r);
		store64(payload + 16 + 16 * i, r->delivered);
		store64(payload + 24 + 16 * i, r->granted);
	}
	send_frame(s, FRAME_ATTACH, id_of(s, 0), 0, payload, sizeof payload);
	s->link.state = LINK_ATTACHING;
}

static void on_refused(struct shim *s, const struct frame *f)
{
	char message[MESSAGE_BYTES_MAX + 1], text[MESSAGE_BYTES_MAX + 128];

	text_clean(message, sizeof message, f->payload + 4, f->length - 4);
	snprintf(text, sizeof text, "attaching to the process was refused (%s): %s", code_name(load32(f->payload)),
		 message);
	link_fail(s, CAUSE_REFUSED, text);
}

static void on_goaway(struct shim *s, const struct frame *f)
{
	char message[MESSAGE_BYTES_MAX + 1], text[MESSAGE_BYTES_MAX + 128];
	uint32_t code = load32(f->payload);

	if (code == CODE_ABORTED || code == CODE_EXHAUSTED) {
		link_wait_to_retry(s);
		return;
	}
	text_clean(message, sizeof message, f->payload + 4, f->length - 4);
	/* A sandbox that was there and is no longer known has been destroyed. */
	if (code == CODE_UNAVAILABLE || (code == CODE_NOT_FOUND && s->link.was_attached)) {
		snprintf(text, sizeof text, "the virtual machine is gone: %s", message);
		link_fail(s, CAUSE_VM_LOST, text);
		return;
	}
	snprintf(text, sizeof text, "the proxy ended the connection (%s): %s", code_name(code), message);
	link_fail(s, CAUSE_LINK_FAILED, text);
}

/* Frames of the attachment: the state has to be `attached` and the generation ours. */
static int on_stream_frame(struct shim *s, const struct frame *f, const char **why)
{
	uint32_t stream = f->id % 4;

	if (s->link.state != LINK_ATTACHED || f->generation != s->link.generation)
		return 0; /* sent before a re-attach */
	switch (f->type) {
	case FRAME_DATA:
		if (stream >= STDOUT)
			return on_data(s, f, stream, why);
		break;
	case FRAME_EOF:
		if (stream >= STDOUT)
			return on_final(&s->outputs[stream - STDOUT], f->offset, why);
		break;
	case FRAME_WINDOW:
		if (stream <= STDIN)
			return on_window(s, f, stream, why);
		break;
	case FRAME_STOP:
		if (stream <= STDIN)
			return on_stop(s, stream);
		break;
	case FRAME_EXIT:
		if (stream == 0)
			return on_exit_frame(s, f, why);
		break;
	}
	*why = "frame of a stream that goes the other way";
	return -1;
}

static int on_frame(struct shim *s, const struct frame *f, const char **why)
{
	bool ours = f->id / 4 == s->options.process;

	if (f->type == FRAME_GOAWAY) {
		on_goaway(s, f);
		return 0;
	}
	if (f->type == FRAME_BOUND && s->link.state == LINK_BINDING) {
		attach(s);
		return 0;
	}
	*why = "frame that a client does not get in this state";
	if (s->link.state != LINK_ATTACHING && s->link.state != LINK_ATTACHED)
		return -1;
	if (f->type < FRAME_DATA || f->type > FRAME_DETACHED || f->type == FRAME_ATTACH)
		return -1;
	*why = "frame of another process";
	if (!ours)
		return -1;
	switch (f->type) {
	case FRAME_ATTACHED:
		if (s->link.state == LINK_ATTACHING && f->generation == s->link.generation)
			return on_attached(s, f, why);
		return 0;
	case FRAME_REFUSED:
		on_refused(s, f);
		return 0;
	case FRAME_DETACHED:
		link_fail(s, CAUSE_DETACHED, "another client has attached to the process");
		return 0;
	}
	return on_stream_frame(s, f, why);
}

static int on_preamble(struct shim *s, const struct preamble *p, const char **why)
{
	char text[160];

	if (p->version_min > PROTOCOL_VERSION || p->version_max < PROTOCOL_VERSION) {
		snprintf(text, sizeof text, "the proxy speaks versions %u to %u of the protocol, this shim speaks %u",
			 p->version_min, p->version_max, PROTOCOL_VERSION);
		link_fail(s, CAUSE_LINK_FAILED, text);
		return 0;
	}
	if (p->role != ROLE_PROXY) {
		*why = "preamble of somebody who is no proxy";
		return -1;
	}
	send_frame(s, FRAME_BIND, 0, 0, s->options.sandbox, strlen(s->options.sandbox));
	s->link.state = LINK_BINDING;
	return 0;
}

static void broken(struct shim *s, const char *why)
{
	char text[512];

	send_complaint(s, why);
	if (++s->link.broken < BROKEN_LINKS_MAX) {
		link_wait_to_retry(s);
		return;
	}
	snprintf(text, sizeof text, "the link to the virtual machine keeps breaking the protocol: %s", why);
	link_fail(s, CAUSE_LINK_FAILED, text);
}

/* One thing from the decoder. 1: there may be more, 0: bytes are needed. */
static int decode(struct shim *s)
{
	const char *why = NULL;
	struct preamble preamble;
	struct frame f;
	int result;

	if (s->link.state == LINK_GREETING) {
		result = decoder_preamble(&s->link.decoder, s->link.epoch, &preamble);
		if (result > 0 && on_preamble(s, &preamble, &why) < 0)
			result = -1;
	} else {
		result = decoder_next(&s->link.decoder, &f, &why);
		if (result > 0 && on_frame(s, &f, &why) < 0)
			result = -1;
	}
	if (result < 0)
		broken(s, why);
	return result > 0 && s->link.fd >= 0;
}

void link_receive(struct shim *s)
{
	uint8_t *at;
	size_t room = decoder_space(&s->link.decoder, &at);
	ssize_t got = recv(s->link.fd, at, room, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		link_wait_to_retry(s);
		return;
	}
	decoder_filled(&s->link.decoder, (size_t)got);
	while (decode(s))
		;
}
