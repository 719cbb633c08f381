/* The end: messages, the exit file, and ending as the process did. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scope.h"
#include "shim.h"
#include "terminal.h"
#include "text.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
static int __lsan_do_recoverable_leak_check(void)
{
	return 0;
}
#endif

#define EXIT_LOST 255

static const char *const cause_names[] = {
	[CAUSE_EXITED] = "exited",
	[CAUSE_SIGNALLED] = "signalled",
	[CAUSE_OUT_OF_MEMORY] = "out_of_memory",
	[CAUSE_START_FAILED] = "start_failed",
	[CAUSE_VM_LOST] = "vm_lost",
	[CAUSE_DETACHED] = "detached",
	[CAUSE_REFUSED] = "refused",
	[CAUSE_DATA_LOSS] = "data_loss",
	[CAUSE_LINK_FAILED] = "link_failed",
	[CAUSE_INTERRUPTED] = "interrupted",
};

/* Waits for a slow reader of stderr, but a signal ends the wait: nobody is left to forward it to. */
static void say(struct shim *s, const char *text)
{
	struct descriptor to;
	struct iovec line = { (void *)(uintptr_t)text, strlen(text) };

	descriptor_open(&to, 2, true);
	while (line.iov_len > 0) {
		struct iovec part = line;
		ssize_t put = descriptor_write(&to, &part, 1);
		if (put == -EAGAIN) {
			struct pollfd wait[2] = { { .fd = descriptor_poll_fd(&to, true), .events = POLLOUT },
						  { .fd = s->signals.forward_fd, .events = POLLIN } };
			if (poll(wait, 2, -1) < 0 || wait[1].revents)
				return;
			continue;
		}
		if (put < 0)
			return;
		line.iov_base = (char *)line.iov_base + put;
		line.iov_len -= (size_t)put;
	}
}

void ready(struct shim *s)
{
	if (s->options.ready_fd < 0)
		return;
	(void)!write(s->options.ready_fd, "1\n", 2);
	close(s->options.ready_fd);
	s->options.ready_fd = -1;
}

static int write_exit_file(const char *path, const char *line)
{
	char temporary[4096];

	if ((size_t)snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, getpid()) >= sizeof temporary) {
		errno = ENAMETOOLONG;
		return -1;
	}
	{
		autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		size_t length = strlen(line);
		if (fd < 0)
			return -1;
		if (write(fd, line, length) == (ssize_t)length && rename(temporary, path) == 0)
			return 0;
	}
	int error = errno ? errno : ENOSPC;
	unlink(temporary);
	errno = error;
	return -1;
}

static void record(struct shim *s, int code, int signal)
{
	static char message[2 * MESSAGE_BYTES_MAX], line[2 * MESSAGE_BYTES_MAX + 256];
	char code_text[16] = "null", signal_text[16] = "null";

	if (!s->options.exit_file)
		return;
	if (signal)
		snprintf(signal_text, sizeof signal_text, "%d", signal);
	else
		snprintf(code_text, sizeof code_text, "%d", code);
	text_json(message, sizeof message, s->ending.message);
	snprintf(line, sizeof line, "{\"cause\":\"%s\",\"exitCode\":%s,\"signal\":%s,\"message\":\"%s\"}\n",
		 cause_names[s->ending.cause], code_text, signal_text, message);
	if (write_exit_file(s->options.exit_file, line) < 0) {
		snprintf(line, sizeof line, "coracle: writing %s failed: %s\n", s->options.exit_file, strerror(errno));
		say(s, line);
	}
}

static void report(struct shim *s)
{
	static char line[MESSAGE_BYTES_MAX + 512];
	const char *name = s->options.name;

	for (int i = 0; i < 2; i++) {
		if (!s->outputs[i].error)
			continue;
		snprintf(line, sizeof line, "coracle: %s%swriting to %s failed: %s; the rest of it is lost\n",
			 name ? name : "", name ? ": " : "", s->outputs[i].name, strerror(s->outputs[i].error));
		say(s, line);
	}
	if (s->ending.cause == CAUSE_EXITED || s->ending.cause == CAUSE_SIGNALLED ||
	    s->ending.cause == CAUSE_OUT_OF_MEMORY)
		return;
	if (s->ending.cause == CAUSE_START_FAILED)
		snprintf(line, sizeof line, "coracle: %s\n", s->ending.message);
	else
		snprintf(line, sizeof line, "coracle: %s%s%s\n", name ? name : "", name ? ": " : "",
			 s->ending.message);
	say(s, line);
	if (s->options.ready_fd >= 0)
		(void)!write(s->options.ready_fd, line, strlen(line));
}

void finish(struct shim *s)
{
	bool process_ended = s->ending.cause <= CAUSE_START_FAILED;
	int status = s->ending.status;
	int signal = process_ended && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	int code = process_ended ? WEXITSTATUS(status) : EXIT_LOST;

	if (s->ending.cause == CAUSE_INTERRUPTED)
		code = status; /* 128 and the signal */
	terminal_restore();
	report(s);
	record(s, code, signal);
	/* At exit(3) it would turn the code into its own. */
	(void)__lsan_do_recoverable_leak_check();
	if (signal) {
		signals_die_by(signal);
		code = 128 + signal;
	}
	/* Not exit(3): there is nothing to flush. */
	_exit(code);
}
