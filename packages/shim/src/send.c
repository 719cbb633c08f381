/* Frames out: one batch at a time, written with one sendmsg(2). Small frames are copied into the
 * batch, payload goes from its ring to the socket. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "link.h"

void send_reset(struct shim *s)
{
	s->link.out.first = s->link.out.count = 0;
	s->link.out.small_used = 0;
}

void *send_append(struct shim *s, size_t length)
{
	struct iovec *pieces = s->link.out.pieces;
	int count = s->link.out.count;
	uint8_t *at = s->link.out.small + s->link.out.small_used;

	/* Never full: a batch is at most one frame of each kind. */
	if (s->link.out.small_used + length > sizeof s->link.out.small || count + 1 > 32)
		abort();
	s->link.out.small_used += length;
	if (count > s->link.out.first && (uint8_t *)pieces[count - 1].iov_base + pieces[count - 1].iov_len == at)
		pieces[count - 1].iov_len += length;
	else
		pieces[s->link.out.count++] = (struct iovec){ at, length };
	return at;
}

static void put_header(struct shim *s, enum frame_type type, uint32_t id, uint64_t offset, size_t length)
{
	struct frame f = { .length = (uint32_t)length, .type = type, .id = id, .offset = offset };

	f.generation = id ? s->link.generation : 0;
	header_encode(send_append(s, HEADER_BYTES), &f);
}

void send_frame(struct shim *s, enum frame_type type, uint32_t id, uint64_t offset, const void *payload,
		size_t length)
{
	put_header(s, type, id, offset, length);
	if (length > 0)
		memcpy(send_append(s, length), payload, length);
	memcpy(send_append(s, TRAILER_BYTES), frame_trailer, TRAILER_BYTES);
}

/* Payload goes from the ring to the socket, without a copy of ours. */
static bool put_data(struct shim *s, struct sender *from, uint32_t stream, size_t unit)
{
	size_t length = sender_ready(from, unit);

	if (length == 0)
		return false;
	put_header(s, FRAME_DATA, id_of(s, stream), from->next, length);
	s->link.out.count += ring_pieces(&from->ring, (size_t)(from->next - from->base), length,
					 s->link.out.pieces + s->link.out.count);
	memcpy(send_append(s, TRAILER_BYTES), frame_trailer, TRAILER_BYTES);
	from->next += length;
	return true;
}

/* The next batch: control frames, then records, then one frame of stdin. */
static bool fill(struct shim *s)
{
	bool any = false;

	if (s->link.state != LINK_ATTACHED)
		return false;
	for (uint32_t i = 0; i < 2; i++) {
		struct receiver *r = &s->outputs[i].stream;
		if (receiver_window_due(r)) {
			uint8_t limit[8];
			uint64_t delivered = r->delivered;
			store64(limit, receiver_grant(r));
			send_frame(s, FRAME_WINDOW, id_of(s, STDOUT + i), delivered, limit, sizeof limit);
			any = true;
		}
		if (r->stop_owed) {
			send_frame(s, FRAME_STOP, id_of(s, STDOUT + i), 0, NULL, 0);
			r->stop_owed = false;
			any = true;
		}
	}
	if (s->stdin_stream.eof_owed) {
		send_frame(s, FRAME_EOF, id_of(s, STDIN), s->stdin_stream.final, NULL, 0);
		s->stdin_stream.eof_owed = false;
		any = true;
	}
	any |= put_data(s, &s->control, CONTROL, CONTROL_RECORD_BYTES);
	any |= put_data(s, &s->stdin_stream, STDIN, 1);
	return any;
}

static void taken(struct shim *s, size_t bytes)
{
	while (bytes > 0) {
		struct iovec *piece = &s->link.out.pieces[s->link.out.first];
		if (bytes < piece->iov_len) {
			piece->iov_base = (uint8_t *)piece->iov_base + bytes;
			piece->iov_len -= bytes;
			return;
		}
		bytes -= piece->iov_len;
		s->link.out.first++;
	}
	if (s->link.out.first == s->link.out.count)
		send_reset(s);
}

void link_send(struct shim *s)
{
	while (s->link.fd >= 0 && (s->link.out.count > 0 || fill(s))) {
		struct msghdr message = { .msg_iov = s->link.out.pieces + s->link.out.first,
					  .msg_iovlen = (size_t)(s->link.out.count - s->link.out.first) };
		ssize_t sent = sendmsg(s->link.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		/* A write error closes the link, but what the peer said before it left (GOAWAY) is
		 * still to be read; the end of file follows it. */
		if (sent < 0) {
			send_reset(s);
			shutdown(s->link.fd, SHUT_WR);
			return;
		}
		taken(s, (size_t)sent);
	}
}

void send_complaint(struct shim *s, const char *why)
{
	uint8_t payload[4 + 256];
	size_t length = strlen(why) < 256 ? strlen(why) : 256;

	/* Only on a frame boundary: in the middle of a frame it would be taken for payload. */
	if (s->link.out.count > 0)
		return;
	store32(payload, 3); /* invalid_argument */
	memcpy(payload + 4, why, length);
	send_frame(s, FRAME_GOAWAY, 0, 0, payload, 4 + length);
	(void)!sendmsg(s->link.fd, &(struct msghdr){ .msg_iov = s->link.out.pieces, .msg_iovlen = 1 },
		       MSG_NOSIGNAL | MSG_DONTWAIT);
}
