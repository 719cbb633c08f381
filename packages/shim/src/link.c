/* The connection to the proxy: when it is needed, how it is made, and made again when it breaks
 * (docs/protocol.md, sections 1 and 7). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "link.h"
#include "scope.h"
#include "starter.h"

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
	send_reset(s);
	decoder_reset(&s->link.decoder);
}

void link_wait_to_retry(struct shim *s)
{
	struct link *l = &s->link;

	link_close(s);
	if (l->state == LINK_OVER)
		return;
	l->state = LINK_WAITING;
	l->retry_at_ms = now_ms() + l->retry_ms;
	l->retry_ms = l->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : l->retry_ms * 2;
}

void link_fail(struct shim *s, enum cause cause, const char *text)
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
	preamble_encode(send_append(s, PREAMBLE_BYTES), s->link.epoch);
}

/* Nobody listens, but somebody is starting a proxy. */
static void wait_for_listener(struct shim *s)
{
	struct link *l = &s->link;

	l->retry_at_ms = now_ms() + l->retry_ms;
	l->retry_ms += l->retry_ms / 4 + 1;
	if (l->retry_ms > RETRY_LAST_MS)
		l->retry_ms = RETRY_LAST_MS;
}

static void start_proxy(struct shim *s)
{
	char text[512];
	int pid = starter_spawn(&s->options);

	if (pid < 0 && !s->link.was_attached) {
		snprintf(text, sizeof text, "starting the proxy with %s failed: %s", s->options.start_proxy,
			 strerror(-pid));
		link_fail(s, CAUSE_LINK_FAILED, text);
		return;
	}
	if (pid > 0) {
		s->link.starter_pid = pid;
		s->link.starts++;
	}
	wait_for_listener(s);
}

void link_reap_starters(struct shim *s)
{
	struct link *l = &s->link;
	char text[512];
	int pid, status;

	/* Also those that listened for years. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->network.pid)
			network_ended(&s->network, now_ms());
		if (pid != l->starter_pid)
			continue;
		l->starter_pid = 0;
		bool refused = WIFEXITED(status) && WEXITSTATUS(status) != 0;
		if (l->state != LINK_WAITING || (!refused && l->starts < FIRST_STARTS_MAX))
			continue; /* killed, say: who looks next starts another */
		if (l->was_attached) {
			l->retry_ms = RETRY_LAST_MS; /* it would refuse again */
			wait_for_listener(s);
			continue;
		}
		snprintf(text, sizeof text, "starting the proxy failed: %s ended with status %d; %s.log may say why",
			 s->options.start_proxy, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
			 s->options.socket);
		link_fail(s, CAUSE_LINK_FAILED, text);
	}
}

void link_advance(struct shim *s)
{
	char text[512];

	if (s->link.state != LINK_WAITING || now_ms() < s->link.retry_at_ms)
		return;
	autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect_to(fd, s->options.socket) == 0) {
		s->link.starter_pid = 0;
		greet(s, scope_keep(&fd));
		return;
	}
	bool nobody = errno == ECONNREFUSED || errno == ENOENT;
	if (nobody && s->options.start_proxy) {
		start_proxy(s);
	} else if (errno == EAGAIN || errno == ECONNRESET || s->link.was_attached) {
		link_wait_to_retry(s);
	} else {
		snprintf(text, sizeof text, "connecting to the proxy at %s failed: %s%s", s->options.socket,
			 strerror(errno), nobody ? "; is coracle-proxy running?" : "");
		link_fail(s, CAUSE_LINK_FAILED, text);
	}
}
