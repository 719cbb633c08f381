#include "stream.h"

uint64_t sender_end(const struct sender *s)
{
	return s->base + s->ring.length;
}

size_t sender_room(const struct sender *s)
{
	return s->has_final ? 0 : s->ring.size - s->ring.length;
}

void sender_finish(struct sender *s)
{
	if (s->has_final)
		return;
	s->final = sender_end(s);
	s->has_final = true;
	s->eof_owed = true;
}

static void release(struct sender *s, uint64_t upto)
{
	if (upto <= s->base)
		return;
	ring_drop(&s->ring, (size_t)(upto - s->base));
	s->base = upto;
}

int sender_attached(struct sender *s, uint64_t expected, uint64_t limit, const char **why)
{
	if (expected > OFFSET_MAX || limit > OFFSET_MAX || limit < expected) {
		*why = "ATTACHED with a limit out of range";
		return -1;
	}
	if (!s->numbered) {
		/* Somebody may have owned the process before us: our bytes follow theirs. */
		s->base += expected;
		s->final += s->has_final ? expected : 0;
		s->numbered = true;
	}
	if (s->stopped) {
		/* What was dropped is not sent again; only the end is. */
		s->eof_owed = true;
		return 0;
	}
	if (expected < s->base || expected > sender_end(s)) {
		*why = "ATTACHED expects bytes that this client does not have";
		return -1;
	}
	/* What the peer has received it keeps, so it can be let go here. It has to be: the peer counts
	 * its quarter of a window anew after every attach, so bytes that were delivered but not yet
	 * told would otherwise fill the ring, and both sides would wait for each other. */
	release(s, expected);
	s->next = s->base;
	s->limit = limit;
	s->delivered = 0;
	s->eof_owed = s->has_final;
	return 0;
}

int sender_window(struct sender *s, uint64_t delivered, uint64_t limit, const char **why)
{
	if (s->stopped)
		return 0;
	if (delivered > s->next || delivered < s->delivered) {
		*why = "WINDOW delivered out of range";
		return -1;
	}
	if (limit > OFFSET_MAX || limit < s->limit) {
		*why = "WINDOW limit out of range";
		return -1;
	}
	s->delivered = delivered;
	s->limit = limit;
	release(s, delivered);
	return 0;
}

void sender_stop(struct sender *s)
{
	if (s->stopped)
		return;
	sender_finish(s);
	s->stopped = true;
	release(s, sender_end(s));
	s->next = s->base;
}

size_t sender_ready(const struct sender *s, size_t unit)
{
	uint64_t end = sender_end(s) < s->limit ? sender_end(s) : s->limit;

	if (s->stopped || end <= s->next)
		return 0;
	uint64_t bytes = end - s->next;
	if (bytes > PAYLOAD_BYTES_MAX)
		bytes = PAYLOAD_BYTES_MAX;
	return (size_t)(bytes - bytes % unit);
}

void receiver_attach(struct receiver *r)
{
	r->announced = r->delivered;
	r->granted = r->delivered + r->ring.size;
	/* The end is said again, and another owner's STOP may have moved it down. */
	if (r->final != r->expected)
		r->has_final = false;
}

int receiver_attached(struct receiver *r, uint64_t start, const char **why)
{
	if (start > OFFSET_MAX - r->ring.size || start < r->announced) {
		*why = "ATTACHED starts an output before what was asked";
		return -1;
	}
	if (!r->numbered && start > r->expected) {
		r->expected = r->delivered = r->announced = start;
		r->window_owed = true;
	}
	r->numbered = true;
	r->stop_owed = r->stopped;
	if (r->stopped && start > r->expected)
		r->expected = r->delivered = start;
	return start > r->announced && !r->stopped ? 1 : 0;
}

int receiver_data(struct receiver *r, uint64_t offset, size_t length, size_t *skip, const char **why)
{
	uint64_t end = offset + length; /* at most 2^53 - 1: the decoder has looked */

	if (offset > r->expected) {
		*why = "DATA leaves a gap";
		return -1;
	}
	if (end > r->granted) {
		*why = "DATA beyond the granted limit";
		return -1;
	}
	if (r->has_final && end > r->final) {
		*why = "DATA beyond the end of the stream";
		return -1;
	}
	*skip = length;
	if (end <= r->expected)
		return 0;
	if (r->stopped)
		r->delivered = end;
	else
		*skip = (size_t)(r->expected - offset);
	r->expected = end;
	return 0;
}

int receiver_final(struct receiver *r, uint64_t final, const char **why)
{
	/* A sender that was stopped has dropped bytes, so its end need not meet ours. */
	if (!r->stopped && (final < r->expected || (r->has_final && final != r->final))) {
		*why = "final offset does not agree with the stream";
		return -1;
	}
	if (!r->stopped) {
		r->final = final;
		r->has_final = true;
	}
	return 0;
}

void receiver_delivered(struct receiver *r, size_t bytes)
{
	r->delivered += bytes;
}

void receiver_stop(struct receiver *r)
{
	if (r->stopped)
		return;
	ring_drop(&r->ring, r->ring.length);
	r->delivered = r->expected;
	r->stopped = r->stop_owed = true;
}

bool receiver_window_due(const struct receiver *r)
{
	if (r->stopped)
		return false;
	return r->window_owed || r->delivered - r->announced >= r->ring.size / 4 ||
	       (r->has_final && r->delivered == r->final && r->announced != r->delivered);
}

uint64_t receiver_grant(struct receiver *r)
{
	uint64_t limit = r->delivered + r->ring.size;

	r->announced = r->delivered;
	r->granted = limit < OFFSET_MAX ? limit : OFFSET_MAX;
	r->window_owed = false;
	return r->granted;
}

bool receiver_has_all(const struct receiver *r)
{
	return r->stopped || (r->has_final && r->expected == r->final);
}

bool receiver_done(const struct receiver *r)
{
	return r->stopped || (r->has_final && r->delivered == r->final);
}
