/* What moves between the descriptors and the streams. */
#include "shim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "terminal.h"
#include "text.h"

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void shim_end(struct shim *s, enum cause cause, int status, const char *format, ...)
{
	va_list arguments;

	if (s->ending.cause != CAUSE_NONE)
		return;
	s->ending.cause = cause;
	s->ending.status = status;
	va_start(arguments, format);
	int length = vsnprintf(s->ending.message, sizeof s->ending.message, format, arguments);
	va_end(arguments);
	/* The peer's text and ours before it may be too long together; the exit file is UTF-8. */
	if (length >= (int)sizeof s->ending.message)
		text_trim(s->ending.message);
}

bool shim_wants_input(const struct shim *s)
{
	/* Only after the first ATTACHED: that is when the number of the first byte is known. */
	return s->options.forward_stdin && s->link.was_attached && s->ending.cause == CAUSE_NONE &&
	       !s->input_in_background && sender_room(&s->stdin_stream) > 0;
}

void shim_stop_input(struct shim *s)
{
	descriptor_close(&s->input);
}

void shim_read_input(struct shim *s)
{
	struct iovec pieces[2];
	int count = ring_free_pieces(&s->stdin_stream.ring, pieces);
	ssize_t got = descriptor_read(&s->input, pieces, count);

	if (got > 0) {
		ring_added(&s->stdin_stream.ring, (size_t)got);
		return;
	}
	if (got == -EAGAIN)
		return;
	if (got == -EIO && s->input.terminal && terminal_in_background(s->input.shared)) {
		s->input_in_background = true;
		return;
	}
	/* The end of file, or a terminal or socket that is gone, which is the same to the process. */
	sender_finish(&s->stdin_stream);
}

bool shim_control_has_room(const struct shim *s)
{
	/* Two records: a batch of signals may bring a resize. When nobody takes them any more they are
	 * read and dropped, but for those that end us. */
	return sender_room(&s->control) >= 2 * CONTROL_RECORD_BYTES || s->control.stopped ||
	       s->ending.cause > CAUSE_START_FAILED;
}

void shim_control(struct shim *s, uint8_t kind, uint16_t a, uint16_t b)
{
	uint8_t record[CONTROL_RECORD_BYTES] = { kind, 0, (uint8_t)a, (uint8_t)(a >> 8),
						 (uint8_t)b, (uint8_t)(b >> 8), 0, 0 };
	struct ring *r = &s->control.ring;

	/* Of sizes that wait one after the other only the last one matters. */
	if (kind == RECORD_RESIZE && sender_end(&s->control) - s->control.next >= sizeof record) {
		struct iovec piece[2];
		ring_pieces(r, r->length - sizeof record, sizeof record, piece);
		if (*(uint8_t *)piece[0].iov_base == RECORD_RESIZE) {
			memcpy(piece[0].iov_base, record, sizeof record);
			return;
		}
	}
	if (sender_room(&s->control) >= sizeof record)
		ring_put(r, record, sizeof record);
}

void shim_resize(struct shim *s)
{
	uint16_t columns, rows;

	if (terminal_size(&columns, &rows))
		shim_control(s, RECORD_RESIZE, columns, rows);
}

static void write_failed(struct output *o, ssize_t error)
{
	/* EIO: the other side of a terminal was closed. */
	if (error != -EPIPE && error != -ECONNRESET && error != -EIO)
		o->error = (int)-error;
	receiver_stop(&o->stream);
	output_finish(o);
}

void output_finish(struct output *o)
{
	if (receiver_done(&o->stream) && !o->keep_open)
		descriptor_close(&o->to);
}

void output_take(struct output *o, const uint8_t *bytes, size_t length)
{
	/* Straight from the socket's buffer while nothing waits before it. */
	while (length > 0 && o->stream.ring.length == 0) {
		struct iovec piece = { (void *)(uintptr_t)bytes, length };
		ssize_t put = descriptor_write(&o->to, &piece, 1);
		if (put == -EAGAIN)
			break;
		if (put < 0) {
			write_failed(o, put);
			return;
		}
		receiver_delivered(&o->stream, (size_t)put);
		bytes += put;
		length -= (size_t)put;
	}
	ring_put(&o->stream.ring, bytes, length);
	output_finish(o);
}

void output_flush(struct output *o)
{
	while (o->stream.ring.length > 0) {
		struct iovec pieces[2];
		int count = ring_pieces(&o->stream.ring, 0, o->stream.ring.length, pieces);
		ssize_t put = descriptor_write(&o->to, pieces, count);
		if (put == -EAGAIN)
			return;
		if (put < 0) {
			write_failed(o, put);
			return;
		}
		ring_drop(&o->stream.ring, (size_t)put);
		receiver_delivered(&o->stream, (size_t)put);
	}
	output_finish(o);
}

bool shim_is_over(const struct shim *s)
{
	const struct receiver *out = &s->outputs[0].stream, *err = &s->outputs[1].stream;

	if (s->ending.cause == CAUSE_NONE)
		return false;
	if (s->ending.cause <= CAUSE_START_FAILED)
		return receiver_done(out) && receiver_done(err);
	/* Nothing more will come, but what is here is delivered. */
	return out->ring.length == 0 && err->ring.length == 0;
}
