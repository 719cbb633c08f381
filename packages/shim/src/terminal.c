#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The fault handler needs them, so they are not part of the state that is passed around. */
static int terminal = -1; /* a duplicate: 0 may be closed when the process wants no more stdin */
static struct termios saved;
static volatile sig_atomic_t is_raw;

static void on_fault(int signal)
{
	terminal_restore();
	raise(signal); /* SA_RESETHAND: now with the default action */
}

static int make_raw(int fd)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	struct sigaction action;
	struct termios raw;

	terminal = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (terminal < 0 || tcgetattr(terminal, &saved) < 0)
		return -1;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_fault;
	action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigaction(faults[i], &action, NULL);
	raw = saved;
	cfmakeraw(&raw);
	is_raw = 1;
	/* At once: what was typed before stays in the queue, and a stopped terminal can't hold us. */
	return tcsetattr(terminal, TCSANOW, &raw);
}

int terminal_open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (isatty(fd))
			return make_raw(fd);
	return 0;
}

int terminal_open_console(int fd)
{
	/* A session leader may keep no other controlling terminal. EPERM: we lead a group already,
	 * then either the session is ours too or there are no SIGWINCHs to be had. */
	(void)setsid();
	(void)ioctl(fd, TIOCSCTTY, 0);
	return make_raw(fd);
}

bool terminal_is_open(void)
{
	return terminal >= 0;
}

bool terminal_size(uint16_t *columns, uint16_t *rows)
{
	struct winsize size;

	if (terminal < 0 || ioctl(terminal, TIOCGWINSZ, &size) < 0)
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return size.ws_col > 0 || size.ws_row > 0;
}

bool terminal_in_background(int fd)
{
	pid_t foreground = tcgetpgrp(fd);

	return foreground > 0 && foreground != getpgrp();
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(terminal, TCSANOW, &saved);
	is_raw = 0;
}
