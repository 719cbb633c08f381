/* Signals are blocked from the first line and read from descriptors, so that none is lost and
 * none interrupts a system call. */
#ifndef CORACLE_SIGNALS_H
#define CORACLE_SIGNALS_H

#include <stdint.h>

struct signals {
	int forward_fd; /* signalfd: everything that goes to the process, and SIGWINCH */
	int child_fd;   /* signalfd: SIGCHLD; apart, since it is read even while there is no room */
};

/* 0, or -1 with errno. */
int signals_open(struct signals *s);
/* The number of the next signal; 0: none is pending. */
int signals_next(int fd);
/* Undoes for a child that executes another program what signals_open has done. */
void signals_default(void);
/* Ends as a process killed by `signal` ends, without a core file. Returns if that is not possible
 * (pid 1 of a namespace). */
void signals_die_by(int signal);

#endif
