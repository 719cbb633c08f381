#include "network.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bounds.h"
#include "helper.h"
#include "scope.h"

/* The runtime's own taps (packages/runtime, read-network.ts): they change because of what the program does. */
#define TAP_PREFIX "crtap"

/* musl-gcc finds no headers of the kernel. linux/netlink.h, linux/rtnetlink.h */
struct address {
	uint16_t family, pad;
	uint32_t port, groups;
};
struct message {
	uint32_t length;
	uint16_t type, flags;
	uint32_t sequence, port;
};
struct attribute {
	uint16_t length, type;
};
#define NETLINK_ROUTE 0
#define RTM_NEWLINK 16
#define RTM_DELLINK 17
#define IFINFO_BYTES 16u
#define IFLA_IFNAME 3
/* RTMGRP_LINK, and RTMGRP_*_IFADDR and RTMGRP_*_ROUTE of IPv4 and IPv6 */
#define GROUPS (0x1 | 0x10 | 0x100 | 0x40 | 0x400)

static size_t aligned(size_t length)
{
	return (length + 3) & ~(size_t)3;
}

int network_open(struct network *n)
{
	struct address address = { .family = AF_NETLINK, .groups = GROUPS };
	autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	n->fd = scope_keep(&fd);
	return 0;
}

/* `message` is whole. */
static bool is_tap(const uint8_t *message)
{
	struct message header;
	struct attribute a;

	memcpy(&header, message, sizeof header);
	if (header.type != RTM_NEWLINK && header.type != RTM_DELLINK)
		return false;
	for (size_t at = sizeof header + IFINFO_BYTES; at + sizeof a <= header.length; at += aligned(a.length)) {
		memcpy(&a, message + at, sizeof a);
		if (a.length < sizeof a || at + a.length > header.length)
			return false;
		if (a.type == IFLA_IFNAME && a.length > sizeof a + sizeof TAP_PREFIX - 1)
			return memcmp(message + at + sizeof a, TAP_PREFIX, sizeof TAP_PREFIX - 1) == 0;
	}
	return false;
}

static void changed(struct network *n, int64_t now)
{
	if (n->changed)
		return;
	n->changed = true;
	n->due_at_ms = now + NETWORK_SETTLE_MS;
}

void network_receive(struct network *n, int64_t now)
{
	uint8_t bytes[8192];
	struct message m;

	for (;;) {
		ssize_t got = recv(n->fd, bytes, sizeof bytes, 0);
		if (got < 0 && errno == ENOBUFS) {
			changed(n, now); /* more has come than the socket holds */
			continue;
		}
		if (got <= 0)
			return;
		for (size_t at = 0; at + sizeof m <= (size_t)got; at += aligned(m.length)) {
			memcpy(&m, bytes + at, sizeof m);
			if (m.length < sizeof m || at + m.length > (size_t)got)
				break;
			if (!is_tap(bytes + at))
				changed(n, now);
		}
	}
}

void network_advance(struct network *n, const struct options *o, int64_t now)
{
	if (!n->changed || n->pid || now < n->due_at_ms)
		return;
	n->changed = false;
	int pid = helper_spawn(o->on_network, o->home_fds, -1, HELPER_NO_LOCK);
	if (pid > 0)
		n->pid = pid;
	else
		changed(n, now); /* out of memory or of processes: later */
}

void network_ended(struct network *n, int64_t now)
{
	n->pid = 0;
	if (n->changed && n->due_at_ms < now)
		n->due_at_ms = now;
}

int64_t network_wait_ms(const struct network *n, int64_t now)
{
	if (!n->changed || n->pid)
		return -1;
	return n->due_at_ms > now ? n->due_at_ms - now : 0;
}
