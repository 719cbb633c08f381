/* coracle-names ADDRESS PORT: asks the name server there what comes on stdin, and tells stdout what it answers (record.h).
 *
 * Docker's name server listens on the loopback of a container's network namespace, which the VM has not. This program is
 * in that namespace; its stdin and stdout are those of a coracle-shim, and so a process's of the guest (docs/networking.md).
 * What comes from there is not trusted: it reaches this one address, so many questions at a time, each for so long. What
 * is too much is dropped, as a network drops it. It ends with its stdin, or when that breaks the rules. */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "query.h"

#define QUERIES_MAX 256
/* Docker asks up to three servers, four seconds each. */
#define ANSWER_MS 15000

static struct query queries[QUERIES_MAX];
static uint8_t input[RECORD_HEADER_BYTES + MESSAGE_MAX_BYTES];
static size_t input_length;
static uint8_t output[RECORD_HEADER_BYTES + MESSAGE_MAX_BYTES];

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void ask(const struct record *r, const struct sockaddr_in *server)
{
	for (struct query *q = queries; q < queries + QUERIES_MAX; q++)
		if (q->fd < 0) {
			query_ask(q, r, server, now_ms() + ANSWER_MS);
			return;
		}
}

/* False at the end, or when what comes is no record. */
static bool take_input(const struct sockaddr_in *server)
{
	struct record r;
	size_t at = 0;
	ssize_t got = read(0, input + input_length, sizeof input - input_length);

	if (got < 0)
		return errno == EINTR || errno == EAGAIN;
	if (got == 0)
		return false;
	input_length += (size_t)got;
	for (;;) {
		ptrdiff_t taken = record_read(&r, input + at, input_length - at);
		if (taken < 0)
			return false;
		if (taken == 0)
			break;
		ask(&r, server);
		at += (size_t)taken;
	}
	input_length -= at;
	memmove(input, input + at, input_length);
	return true;
}

static bool tell(const struct record *r)
{
	size_t length = RECORD_HEADER_BYTES + r->length;

	record_header(output, r);
	memmove(output + RECORD_HEADER_BYTES, r->message, r->length);
	for (size_t done = 0; done < length;) {
		ssize_t written = write(1, output + done, length - done);
		if (written < 0 && errno != EINTR)
			return false;
		if (written > 0)
			done += (size_t)written;
	}
	return true;
}

static bool advance(struct query *q)
{
	struct record answer;
	bool told = true;

	switch (query_advance(q, output + RECORD_HEADER_BYTES, &answer)) {
	case PROGRESS_WAIT:
		return true;
	case PROGRESS_ANSWERED:
		told = tell(&answer);
		break;
	case PROGRESS_FAILED:
		break;
	}
	query_end(q);
	return told;
}

/* Those whose time is over are ended. How long the next has; -1: there is none. */
static int64_t end_late(int64_t now)
{
	int64_t wait = -1;

	for (struct query *q = queries; q < queries + QUERIES_MAX; q++) {
		if (q->fd < 0)
			continue;
		if (q->until_ms <= now)
			query_end(q);
		else if (wait < 0 || q->until_ms - now < wait)
			wait = q->until_ms - now;
	}
	return wait;
}

static int serve(const struct sockaddr_in *server)
{
	struct pollfd fds[1 + QUERIES_MAX];

	for (;;) {
		int64_t wait = end_late(now_ms());
		fds[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
		for (int i = 0; i < QUERIES_MAX; i++)
			fds[1 + i] = (struct pollfd){ .fd = queries[i].fd, .events = queries[i].events };
		if (poll(fds, 1 + QUERIES_MAX, (int)wait) < 0) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		for (int i = 0; i < QUERIES_MAX; i++)
			if (fds[1 + i].revents && !advance(&queries[i]))
				return 0;
		/* Last: it fills places whose descriptors were not polled. */
		if (fds[0].revents && !take_input(server))
			return 0;
	}
}

#define NOBODY 65534

/* Asking wants no rights, so whoever should take this program over has none. */
static int drop_rights(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	if (geteuid() != 0)
		return 0;
	return setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in server = { .sin_family = AF_INET };
	long port = argc == 3 ? strtol(argv[2], NULL, 10) : 0;

	if (port < 1 || port > 65535 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fputs("usage: coracle-names ADDRESS PORT\n", stderr);
		return 2;
	}
	if (drop_rights() < 0) {
		perror("coracle-names: cannot drop its rights");
		return 1;
	}
	server.sin_port = htons((uint16_t)port);
	for (int i = 0; i < QUERIES_MAX; i++)
		queries[i].fd = -1;
	return serve(&server);
}
