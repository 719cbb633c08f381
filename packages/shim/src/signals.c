#include "signals.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's own set of 64 signals: libc hides the real-time signals that its threads use (32 to
 * 34), which would then kill the shim instead of being forwarded. */
typedef uint64_t mask_t;

static mask_t bit(int signal)
{
	return UINT64_C(1) << (signal - 1);
}

static int set_mask(mask_t mask)
{
	return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

static int open_signalfd(mask_t mask)
{
	return (int)syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_NONBLOCK | SFD_CLOEXEC);
}

int signals_open(struct signals *s)
{
	/* Faults stay as they are: blocked or not, the kernel would end us. */
	mask_t faults = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGFPE) | bit(SIGTRAP) | bit(SIGSYS);
	mask_t forward = ~(faults | bit(SIGKILL) | bit(SIGSTOP) | bit(SIGCHLD) | bit(SIGPIPE));

	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* inherited as ignored, children would vanish unseen */
	if (set_mask(forward | bit(SIGCHLD)) < 0)
		return -1;
	s->forward_fd = open_signalfd(forward);
	s->child_fd = open_signalfd(bit(SIGCHLD));
	return s->forward_fd < 0 || s->child_fd < 0 ? -1 : 0;
}

int signals_next(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

void signals_default(void)
{
	signal(SIGPIPE, SIG_DFL);
	set_mask(0);
}

void signals_die_by(int number)
{
	struct rlimit none = { 0, 0 };

	/* The dump would be the shim's, not the process's. A core_pattern that is a pipe ignores
	 * the limit, so the process is made undumpable too. */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	signal(number, SIG_DFL);
	set_mask(~bit(number));
	kill(getpid(), number);
}
