#include "world.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define LINK_FD 1000

struct world world;

static uint8_t rings[2][STDOUT_RING_BYTES], stdin_ring[STDIN_RING_BYTES], control_ring[CONTROL_RING_BYTES];

int world_socket(int domain, int type, int protocol);
int world_connect(int fd, const struct sockaddr *address, socklen_t length);
int world_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
ssize_t world_recv(int fd, void *to, size_t length, int flags);
ssize_t world_sendmsg(int fd, const struct msghdr *message, int flags);
int world_shutdown(int fd, int how);
int world_close(int fd);
ssize_t world_getrandom(void *to, size_t length, unsigned int flags);

uint8_t pattern(unsigned int stream, uint64_t offset)
{
	uint64_t mixed = (offset + stream * 0x51u) * 0x9e3779b97f4a7c15u;

	return (uint8_t)(mixed >> 56);
}

static void reset_shim(struct shim *s)
{
	s->options.socket = "proxy.sock";
	s->options.sandbox = "box-1";
	s->options.process = PROCESS;
	s->options.forward_stdin = true;
	s->options.ready_fd = s->options.console_fd = -1;
	s->link.fd = -1;
	s->link.retry_ms = RETRY_FIRST_MS;
	s->control.ring = (struct ring){ .bytes = control_ring, .size = sizeof control_ring };
	s->stdin_stream.ring = (struct ring){ .bytes = stdin_ring, .size = sizeof stdin_ring };
	for (int i = 0; i < 2; i++) {
		s->outputs[i].stream.ring = (struct ring){ .bytes = rings[i], .size = sizeof rings[i] };
		s->outputs[i].name = i ? "stderr" : "stdout";
		s->outputs[i].keep_open = i == 1;
		s->outputs[i].to = (struct descriptor){ .kind = DESCRIPTOR_PLAIN, .shared = 1 + i, .own = -1 };
	}
	s->input = (struct descriptor){ .kind = DESCRIPTOR_PLAIN, .shared = 0, .own = -1 };
}

void world_reset(uint64_t stdin_prefix, uint64_t control_prefix, uint64_t stdout_prefix, uint64_t stderr_prefix)
{
	memset(&world, 0, sizeof world);
	reset_shim(&world.shim);
	world.random = 0x9e3779b9;
	world.recv_most = world.send_room = UNLIMITED;
	world.out_room[0] = world.out_room[1] = UNLIMITED;
	world.inputs[CONTROL].prefix = world.inputs[CONTROL].expected = control_prefix;
	world.inputs[STDIN].prefix = world.inputs[STDIN].expected = stdin_prefix;
	for (int i = 0; i < 2; i++) {
		struct peer_input *in = &world.inputs[i];
		struct peer_output *out = &world.outputs[i];
		in->delivered = in->prefix;
		out->next = out->end = out->sent = out->delivered = i ? stderr_prefix : stdout_prefix;
		world.out_written[i] = out->end;
	}
}

/* The socket ends behind the next `keep` bytes. */
void world_cut(size_t keep)
{
	if (world.in_tail - world.in_head > keep)
		world.in_tail = world.in_head + keep;
	world.in_closed = true;
}

/* ---- the socket ---- */

int world_socket(int domain, int type, int protocol)
{
	(void)domain, (void)type, (void)protocol;
	MUST(!world.connected);
	return LINK_FD;
}

int world_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)address, (void)length;
	MUST(fd == LINK_FD);
	world.connected = true;
	world.in_closed = false;
	world.in_head = world.in_tail = 0;
	peer_connected();
	return 0;
}

int world_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	(void)level, (void)name, (void)value, (void)length;
	MUST(fd == LINK_FD);
	return 0;
}

ssize_t world_recv(int fd, void *to, size_t length, int flags)
{
	size_t have = world.in_tail - world.in_head;

	MUST(fd == LINK_FD && world.connected && (flags & MSG_DONTWAIT) && length > 0);
	have = have < length ? have : length;
	have = have < world.recv_most ? have : world.recv_most;
	if (have == 0 && world.in_closed)
		return 0;
	if (have == 0) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(to, world.incoming + world.in_head, have);
	world.in_head += have;
	if (world.in_head == world.in_tail)
		world.in_head = world.in_tail = 0;
	return (ssize_t)have;
}

ssize_t world_sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t sent = 0;

	MUST(fd == LINK_FD && world.connected && (flags & MSG_DONTWAIT) && (flags & MSG_NOSIGNAL));
	MUST(message->msg_iovlen > 0 && message->msg_iovlen <= 32);
	if (world.in_closed) {
		errno = EPIPE;
		return -1;
	}
	for (size_t i = 0; i < message->msg_iovlen && world.send_room > 0; i++) {
		size_t now = message->msg_iov[i].iov_len;
		now = now < world.send_room ? now : world.send_room;
		if (world.send_room != UNLIMITED)
			world.send_room -= now;
		peer_take(message->msg_iov[i].iov_base, now);
		sent += (ssize_t)now;
	}
	if (sent == 0) {
		errno = EAGAIN;
		return -1;
	}
	return sent;
}

int world_shutdown(int fd, int how)
{
	MUST(fd == LINK_FD && how == SHUT_WR);
	return 0;
}

int world_close(int fd)
{
	if (fd == LINK_FD) {
		world.connected = false;
		peer_closed();
	}
	return 0;
}

ssize_t world_getrandom(void *to, size_t length, unsigned int flags)
{
	(void)flags;
	for (size_t i = 0; i < length; i++) {
		world.random = world.random * 1664525u + 1013904223u;
		((uint8_t *)to)[i] = (uint8_t)(world.random >> 24);
	}
	return (ssize_t)length;
}

/* ---- the descriptors, in place of descriptor.c ---- */

void descriptor_open(struct descriptor *d, int fd, bool writing)
{
	(void)writing;
	*d = (struct descriptor){ .kind = DESCRIPTOR_PLAIN, .shared = fd, .own = -1 };
}

int descriptor_poll_fd(const struct descriptor *d, bool writing)
{
	(void)writing;
	return d->shared;
}

int descriptor_fill_standard(void)
{
	return 0;
}

void descriptor_close(struct descriptor *d)
{
	d->kind = DESCRIPTOR_CLOSED;
}

ssize_t descriptor_read(const struct descriptor *d, struct iovec *to, int count)
{
	ssize_t got = 0;

	MUST(d->kind != DESCRIPTOR_CLOSED && count > 0);
	for (int i = 0; i < count; i++) {
		uint8_t *bytes = to[i].iov_base;
		size_t now = to[i].iov_len < world.in_ready ? to[i].iov_len : world.in_ready;
		for (size_t k = 0; k < now; k++)
			bytes[k] = pattern(STDIN, world.in_read++);
		world.in_ready -= now;
		got += (ssize_t)now;
	}
	if (got > 0)
		return got;
	return world.in_ended ? 0 : -EAGAIN;
}

/* A byte that arrives twice, or not at its place, is seen here. */
ssize_t descriptor_write(const struct descriptor *d, struct iovec *from, int count)
{
	unsigned int i = (unsigned int)d->shared - 1;
	ssize_t put = 0;

	MUST(d->kind != DESCRIPTOR_CLOSED && i < 2 && count > 0);
	if (world.out_error[i])
		return -world.out_error[i];
	for (int k = 0; k < count && world.out_room[i] > 0; k++) {
		const uint8_t *bytes = from[k].iov_base;
		size_t now = from[k].iov_len < world.out_room[i] ? from[k].iov_len : world.out_room[i];
		for (size_t n = 0; n < now; n++)
			MUST(bytes[n] == pattern(STDOUT + i, world.out_written[i] + n) || world.tainted);
		world.out_written[i] += now;
		if (world.out_room[i] != UNLIMITED)
			world.out_room[i] -= now;
		put += (ssize_t)now;
	}
	return put > 0 ? put : -EAGAIN;
}
