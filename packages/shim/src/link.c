/* The connection to the proxy: greeting, binding, attaching, frames both ways, and all of it again
 * when it breaks (docs/protocol.md, sections 1, 4 and 7). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scope.h"
#include "shim.h"
#include "terminal.h"
#include "text.h"

/* The canonical RPC codes that decide what happens next. */
enum { CODE_INVALID_ARGUMENT = 3, CODE_NOT_FOUND = 5, CODE_EXHAUSTED = 8, CODE_ABORTED = 10, CODE_UNAVAILABLE = 14 };

static const char *const code_names[] = {
	"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
};

static const char *code_name(uint32_t code)
{
	return code < sizeof code_names / sizeof *code_names ? code_names[code] : "unknown code";
}

/* Stream numbers within a process. */
enum { CONTROL = 0, STDIN = 1, STDOUT = 2, STDERR = 3 };

static uint32_t id_of(const struct shim *s, uint32_t stream)
{
	return s->options.process * 4 + stream;
}

bool link_is_needed(const struct shim *s)
{
	if (s->ending.cause == CAUSE_NONE)
		return true;
	return s->ending.cause <= CAUSE_START_FAILED &&
	       !(receiver_has_all(&s->outputs[0].stream) && receiver_has_all(&s->outputs[1].stream));
}

static void link_close(struct shim *s)
{
	if (s->link.fd >= 0)
		close(s->link.fd);
	s->link.fd = -1;
	s->link.out.first = s->link.out.count = 0;
	s->link.out.small_used = 0;
	decoder_reset(&s->link.decoder);
}

static void wait_to_retry(struct shim *s)
{
	struct link *l = &s->link;

	link_close(s);
	if (l->state == LINK_OVER)
		return;
	l->state = LINK_WAITING;
	l->retry_at_ms = now_ms() + l->retry_ms;
	l->retry_ms = l->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : l->retry_ms * 2;
}

static void fail(struct shim *s, enum cause cause, const char *text)
{
	bool needed = link_is_needed(s);

	link_close(s);
	s->link.state = LINK_OVER;
	if (!needed)
		return;
	/* The process has ended and only bytes are missing: that is another loss than the VM's. */
	if (s->ending.cause != CAUSE_NONE) {
		s->ending.cause = CAUSE_NONE;
		cause = CAUSE_DATA_LOSS;
	}
	shim_end(s, cause, 0, "%s", text);
}

/* ---- out ---- */

static void *append(struct shim *s, size_t length)
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
	header_encode(append(s, HEADER_BYTES), &f);
}

static void put_frame(struct shim *s, enum frame_type type, uint32_t id, uint64_t offset, const void *payload,
		      size_t length)
{
	put_header(s, type, id, offset, length);
	if (length > 0)
		memcpy(append(s, length), payload, length);
	memcpy(append(s, TRAILER_BYTES), frame_trailer, TRAILER_BYTES);
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
	memcpy(append(s, TRAILER_BYTES), frame_trailer, TRAILER_BYTES);
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
			put_frame(s, FRAME_WINDOW, id_of(s, STDOUT + i), delivered, limit, sizeof limit);
			any = true;
		}
		if (r->stop_owed) {
			put_frame(s, FRAME_STOP, id_of(s, STDOUT + i), 0, NULL, 0);
			r->stop_owed = false;
			any = true;
		}
	}
	if (s->stdin_stream.eof_owed) {
		put_frame(s, FRAME_EOF, id_of(s, STDIN), s->stdin_stream.final, NULL, 0);
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
	if (s->link.out.first == s->link.out.count) {
		s->link.out.first = s->link.out.count = 0;
		s->link.out.small_used = 0;
	}
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
			s->link.out.first = s->link.out.count = 0;
			s->link.out.small_used = 0;
			shutdown(s->link.fd, SHUT_WR);
			return;
		}
		taken(s, (size_t)sent);
	}
}

/* ---- the peer broke the rules ---- */

static void broken(struct shim *s, const char *why)
{
	uint8_t payload[4 + 256];
	char text[512];
	size_t length = strlen(why) < 256 ? strlen(why) : 256;

	/* Only on a frame boundary: in the middle of a frame it would be taken for payload. */
	if (s->link.out.count == 0) {
		store32(payload, CODE_INVALID_ARGUMENT);
		memcpy(payload + 4, why, length);
		put_frame(s, FRAME_GOAWAY, 0, 0, payload, 4 + length);
		(void)!sendmsg(s->link.fd, &(struct msghdr){ .msg_iov = s->link.out.pieces, .msg_iovlen = 1 },
			       MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	if (++s->link.broken >= BROKEN_LINKS_MAX) {
		snprintf(text, sizeof text, "the link to the virtual machine keeps breaking the protocol: %s", why);
		fail(s, CAUSE_LINK_FAILED, text);
		return;
	}
	wait_to_retry(s);
}

/* ---- in ---- */

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
		fail(s, CAUSE_DATA_LOSS, "another client has been given a part of the output");
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
	put_frame(s, FRAME_ATTACH, id_of(s, 0), 0, payload, sizeof payload);
	s->link.state = LINK_ATTACHING;
}

static void on_refused(struct shim *s, const struct frame *f)
{
	char message[MESSAGE_BYTES_MAX + 1], text[MESSAGE_BYTES_MAX + 128];

	text_clean(message, sizeof message, f->payload + 4, f->length - 4);
	snprintf(text, sizeof text, "attaching to the process was refused (%s): %s", code_name(load32(f->payload)),
		 message);
	fail(s, CAUSE_REFUSED, text);
}

static void on_goaway(struct shim *s, const struct frame *f)
{
	char message[MESSAGE_BYTES_MAX + 1], text[MESSAGE_BYTES_MAX + 128];
	uint32_t code = load32(f->payload);

	if (code == CODE_ABORTED || code == CODE_EXHAUSTED) {
		wait_to_retry(s);
		return;
	}
	text_clean(message, sizeof message, f->payload + 4, f->length - 4);
	/* A sandbox that was there and is no longer known has been destroyed. */
	if (code == CODE_UNAVAILABLE || (code == CODE_NOT_FOUND && s->link.was_attached)) {
		snprintf(text, sizeof text, "the virtual machine is gone: %s", message);
		fail(s, CAUSE_VM_LOST, text);
		return;
	}
	snprintf(text, sizeof text, "the proxy ended the connection (%s): %s", code_name(code), message);
	fail(s, CAUSE_LINK_FAILED, text);
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
		fail(s, CAUSE_DETACHED, "another client has attached to the process");
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
		fail(s, CAUSE_LINK_FAILED, text);
		return 0;
	}
	if (p->role != ROLE_PROXY) {
		*why = "preamble of somebody who is no proxy";
		return -1;
	}
	put_frame(s, FRAME_BIND, 0, 0, s->options.sandbox, strlen(s->options.sandbox));
	s->link.state = LINK_BINDING;
	return 0;
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
		wait_to_retry(s);
		return;
	}
	decoder_filled(&s->link.decoder, (size_t)got);
	while (decode(s))
		;
}

/* ---- connecting ---- */

/* Paths longer than sun_path are reached through their folder's descriptor. */
static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	autoclose int folder = -1;

	if (strlen(path) < sizeof address.sun_path) {
		memcpy(address.sun_path, path, strlen(path) + 1);
	} else {
		char name[4096];
		if (!slash || (size_t)(slash - path) >= sizeof name) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(name, path, (size_t)(slash - path));
		name[slash - path] = 0;
		folder = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (folder < 0)
			return -1;
		if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder,
				     slash + 1) >= sizeof address.sun_path) {
			errno = ENAMETOOLONG;
			return -1;
		}
	}
	return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static void greet(struct shim *s, int fd)
{
	int bytes = SOCKET_SEND_BYTES;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
	s->link.fd = fd;
	s->link.state = LINK_GREETING;
	(void)!getrandom(s->link.epoch, sizeof s->link.epoch, 0);
	preamble_encode(append(s, PREAMBLE_BYTES), s->link.epoch);
}

static void start_proxy(struct shim *s)
{
	const char *program = s->options.start_proxy;
	char text[512];
	int pid = signals_spawn(program);

	if (pid > 0) {
		s->link.state = LINK_STARTING_PROXY;
		s->link.starter_pid = pid;
		s->link.starts++;
		return;
	}
	snprintf(text, sizeof text, "starting the proxy with %s failed: %s", program, strerror(-pid));
	if (s->link.was_attached)
		wait_to_retry(s);
	else
		fail(s, CAUSE_LINK_FAILED, text);
}

void link_starter_ended(struct shim *s)
{
	char text[512];
	int status;

	if (s->link.starter_pid <= 0 || waitpid(s->link.starter_pid, &status, WNOHANG) != s->link.starter_pid)
		return;
	s->link.starter_pid = 0;
	if (s->link.state != LINK_STARTING_PROXY)
		return;
	wait_to_retry(s);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && s->link.starts < FIRST_STARTS_MAX) {
		s->link.retry_at_ms = now_ms(); /* it listens, so at once */
		return;
	}
	if (s->link.was_attached)
		return;
	snprintf(text, sizeof text, "starting the proxy failed: %s ended with status %d; run it by hand to see why",
		 s->options.start_proxy, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	fail(s, CAUSE_LINK_FAILED, text);
}

void link_advance(struct shim *s)
{
	char text[512];

	if (s->link.state != LINK_WAITING || now_ms() < s->link.retry_at_ms)
		return;
	autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect_to(fd, s->options.socket) == 0) {
		greet(s, scope_keep(&fd));
		return;
	}
	bool nobody = errno == ECONNREFUSED || errno == ENOENT;
	if (nobody && s->options.start_proxy) {
		start_proxy(s);
	} else if (errno == EAGAIN || errno == ECONNRESET || s->link.was_attached) {
		wait_to_retry(s);
	} else {
		snprintf(text, sizeof text, "connecting to the proxy at %s failed: %s%s", s->options.socket,
			 strerror(errno), nobody ? "; is coracle-proxy running?" : "");
		fail(s, CAUSE_LINK_FAILED, text);
	}
}
