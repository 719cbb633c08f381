/* coracle-shim: what an engine watches in place of the container's process. It has the engine's
 * stdio, attaches to one process of one sandbox through the proxy, and ends as that process ends.
 * docs/protocol.md says what goes over the socket, docs/terminals.md what happens to a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"
#include "terminal.h"
#include "title.h"

#define EXIT_USAGE 255

static struct shim shim; /* zero pages until they are used */
static uint8_t control_bytes[CONTROL_RING_BYTES], stdin_bytes[STDIN_RING_BYTES];
static uint8_t stdout_bytes[STDOUT_RING_BYTES], stderr_bytes[STDERR_RING_BYTES];

static void close_between(int from, int to)
{
	if (from <= to)
		syscall(SYS_close_range, from, to, 0);
}

/* Whatever else was inherited would keep the engine's pipes open for as long as we live. */
static void close_inherited(const struct options *o)
{
	const int kept[] = { o->ready_fd, o->console_fd, o->home_fds[0], o->home_fds[1] };

	for (int from = 3, next; from < INT32_MAX; from = next + 1) {
		next = INT32_MAX;
		for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
			if (kept[i] >= from && kept[i] < next)
				next = kept[i];
		close_between(from, next - (next < INT32_MAX));
		if (next == INT32_MAX)
			break;
	}
}

static void usage_error(const struct options *o, const char *error)
{
	(void)!write(2, error, strlen(error));
	(void)!write(2, "\n", 1);
	if (o->ready_fd >= 0)
		(void)!write(o->ready_fd, error, strlen(error));
	_exit(EXIT_USAGE);
}

static void open_streams(struct shim *s)
{
	int console = s->options.console_fd;
	/* One copy for each direction, since each is closed on its own. */
	int in = console >= 0 ? fcntl(console, F_DUPFD_CLOEXEC, 3) : 0;
	int out = console >= 0 ? fcntl(console, F_DUPFD_CLOEXEC, 3) : 1;

	s->control.ring = (struct ring){ .bytes = control_bytes, .size = sizeof control_bytes };
	s->stdin_stream.ring = (struct ring){ .bytes = stdin_bytes, .size = sizeof stdin_bytes };
	s->outputs[0].stream.ring = (struct ring){ .bytes = stdout_bytes, .size = sizeof stdout_bytes };
	s->outputs[1].stream.ring = (struct ring){ .bytes = stderr_bytes, .size = sizeof stderr_bytes };
	s->outputs[0].name = "stdout";
	s->outputs[1].name = "stderr";
	s->outputs[1].keep_open = true;
	if (s->options.forward_stdin)
		descriptor_open(&s->input, in, false);
	descriptor_open(&s->outputs[0].to, out, true);
	descriptor_open(&s->outputs[1].to, 2, true);
}

static void open_terminal(struct shim *s)
{
	int console = s->options.console_fd;

	if (!s->options.terminal)
		return;
	if ((console >= 0 ? terminal_open_console(console) : terminal_open_standard()) < 0)
		shim_end(s, CAUSE_LINK_FAILED, 0, "making the terminal raw failed: %s", strerror(errno));
	shim_resize(s);
}

static void on_signal(struct shim *s, int number)
{
	bool ends_us = number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;

	s->input_in_background = false; /* SIGCONT, or anything else: look again */
	if (s->ending.cause > CAUSE_START_FAILED && ends_us)
		finish(s);
	/* Nobody to forward it to yet; the runtime, which waits for the ready byte, cleans up. */
	if (!s->link.was_attached && ends_us)
		shim_end(s, CAUSE_INTERRUPTED, 128 + number, "ended by signal %d before it was attached", number);
	else if (number == SIGWINCH && terminal_is_open())
		shim_resize(s);
	else
		shim_control(s, RECORD_SIGNAL, (uint16_t)number, 0);
}

static int timeout_ms(const struct shim *s)
{
	int64_t wait = -1;

	if (s->link.state == LINK_WAITING && link_is_needed(s)) {
		wait = s->link.retry_at_ms - now_ms();
		wait = wait < 0 ? 0 : wait;
	}
	if (s->input_in_background && (wait < 0 || wait > BACKGROUND_LOOK_MS))
		wait = BACKGROUND_LOOK_MS;
	int64_t network = network_wait_ms(&s->network, now_ms());
	if (network >= 0 && (wait < 0 || wait > network))
		wait = network;
	return (int)wait;
}

static void turn(struct shim *s)
{
	enum { LINK, SIGNALS, CHILD, INPUT, NETWORK, OUTPUTS, COUNT = OUTPUTS + 2 };
	struct pollfd polled[COUNT];
	int number;

	polled[LINK] = (struct pollfd){ .fd = s->link.fd, .events = POLLIN };
	if (s->link.out.count > 0)
		polled[LINK].events |= POLLOUT;
	/* Without room for the record a signal stays pending in the kernel. */
	polled[SIGNALS] = (struct pollfd){ .fd = shim_control_has_room(s) ? s->signals.forward_fd : -1, .events = POLLIN };
	polled[CHILD] = (struct pollfd){ .fd = s->signals.child_fd, .events = POLLIN };
	polled[INPUT] = (struct pollfd){ .fd = shim_wants_input(s) ? descriptor_poll_fd(&s->input, false) : -1,
					 .events = POLLIN };
	polled[NETWORK] = (struct pollfd){ .fd = s->network.fd, .events = POLLIN };
	for (int i = 0; i < 2; i++)
		polled[OUTPUTS + i] = (struct pollfd){
			.fd = s->outputs[i].stream.ring.length > 0 ? descriptor_poll_fd(&s->outputs[i].to, true) : -1,
			.events = POLLOUT,
		};
	if (poll(polled, COUNT, timeout_ms(s)) <= 0) {
		s->input_in_background = false;
		return;
	}
	/* Signals first: a Ctrl-C under a flood must not wait for it. */
	while (polled[SIGNALS].revents && shim_control_has_room(s) && (number = signals_next(s->signals.forward_fd)) > 0)
		on_signal(s, number);
	if (polled[NETWORK].revents)
		network_receive(&s->network, now_ms());
	while (polled[CHILD].revents && signals_next(s->signals.child_fd) > 0)
		link_reap_starters(s);
	for (int i = 0; i < 2; i++)
		if (polled[OUTPUTS + i].revents)
			output_flush(&s->outputs[i]);
	if (polled[INPUT].revents)
		shim_read_input(s);
	if (polled[LINK].revents & ~POLLOUT && s->link.fd >= 0)
		link_receive(s);
}

int main(int argc, char **argv)
{
	char error[256];
	struct shim *s = &shim;

	s->link.fd = s->network.fd = -1;
	s->link.retry_ms = RETRY_FIRST_MS;
	if (descriptor_fill_standard() < 0)
		return EXIT_USAGE;
	if (options_parse(&s->options, argc, argv, error, sizeof error) < 0)
		usage_error(&s->options, error);
	if (title_show(&s->options, argv) < 0)
		usage_error(&s->options, "coracle-shim: no memory for the options");
	close_inherited(&s->options);
	if (signals_open(&s->signals) < 0)
		usage_error(&s->options, "coracle-shim: blocking signals failed");
	open_streams(s);
	open_terminal(s);
	if (s->options.on_network[0] && network_open(&s->network) < 0)
		shim_end(s, CAUSE_LINK_FAILED, 0, "listening for changes of the network failed: %s", strerror(errno));
	while (!shim_is_over(s)) {
		if (link_is_needed(s))
			link_advance(s);
		network_advance(&s->network, &s->options, now_ms());
		link_send(s);
		if (!shim_is_over(s))
			turn(s);
	}
	link_send(s); /* the last WINDOWs */
	finish(s);
}
