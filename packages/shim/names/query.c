#include "query.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../src/scope.h"

#define PREFIX_BYTES 2u

int query_ask(struct query *q, const struct record *r, const struct sockaddr_in *server, int64_t until_ms)
{
	int type = r->kind == KIND_UDP ? SOCK_DGRAM : SOCK_STREAM;
	autoclose int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	uint8_t *bytes = NULL;

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)server, sizeof *server) < 0 && errno != EINPROGRESS)
		return -1;
	if (r->kind == KIND_UDP) {
		if (send(fd, r->message, r->length, MSG_NOSIGNAL) < 0)
			return -1;
	} else {
		bytes = malloc(PREFIX_BYTES + r->length);
		if (!bytes)
			return -1;
		bytes[0] = (uint8_t)(r->length >> 8);
		bytes[1] = (uint8_t)r->length;
		memcpy(bytes + PREFIX_BYTES, r->message, r->length);
	}
	*q = (struct query){
		.fd = scope_keep(&fd),
		.number = r->number,
		.kind = r->kind,
		.events = r->kind == KIND_UDP ? POLLIN : POLLOUT,
		.until_ms = until_ms,
		.bytes = bytes,
		.length = PREFIX_BYTES + r->length,
	};
	return 0;
}

static enum progress answered(const struct query *q, const uint8_t *message, size_t length, struct record *answer)
{
	if (length < MESSAGE_MIN_BYTES)
		return PROGRESS_FAILED;
	*answer = (struct record){ .number = q->number, .kind = q->kind, .message = message, .length = length };
	return PROGRESS_ANSWERED;
}

static bool is_early(ssize_t result)
{
	return result < 0 && (errno == EAGAIN || errno == EINTR);
}

static enum progress advance_sending(struct query *q)
{
	ssize_t sent = send(q->fd, q->bytes + q->done, q->length - q->done, MSG_NOSIGNAL);

	if (is_early(sent))
		return PROGRESS_WAIT;
	if (sent < 0)
		return PROGRESS_FAILED;
	q->done += (size_t)sent;
	if (q->done == q->length) {
		q->events = POLLIN;
		q->length = PREFIX_BYTES;
		q->done = 0;
	}
	return PROGRESS_WAIT;
}

/* The length first, then as much as it says. */
static enum progress advance_receiving(struct query *q, struct record *answer)
{
	ssize_t got = recv(q->fd, q->bytes + q->done, q->length - q->done, 0);

	if (is_early(got))
		return PROGRESS_WAIT;
	if (got <= 0)
		return PROGRESS_FAILED;
	q->done += (size_t)got;
	if (q->done < q->length)
		return PROGRESS_WAIT;
	if (q->length > PREFIX_BYTES)
		return answered(q, q->bytes + PREFIX_BYTES, q->length - PREFIX_BYTES, answer);
	size_t length = (size_t)q->bytes[0] << 8 | q->bytes[1];
	uint8_t *larger = realloc(q->bytes, PREFIX_BYTES + length);
	if (!larger || length < MESSAGE_MIN_BYTES) {
		if (larger)
			q->bytes = larger;
		return PROGRESS_FAILED;
	}
	q->bytes = larger;
	q->length = PREFIX_BYTES + length;
	return PROGRESS_WAIT;
}

enum progress query_advance(struct query *q, uint8_t *room, struct record *answer)
{
	if (q->kind == KIND_TCP)
		return q->events == POLLOUT ? advance_sending(q) : advance_receiving(q, answer);
	ssize_t got = recv(q->fd, room, MESSAGE_MAX_BYTES, 0);
	if (is_early(got))
		return PROGRESS_WAIT;
	return got < 0 ? PROGRESS_FAILED : answered(q, room, (size_t)got, answer);
}

void query_end(struct query *q)
{
	close(q->fd);
	free(q->bytes);
	*q = (struct query){ .fd = -1 };
}
