/* Starting a program of ours that may outlive the shim. */
#ifndef CORACLE_HELPER_H
#define CORACLE_HELPER_H

/* As `lock_fd`: none. */
#define HELPER_NO_LOCK (-1)
/* Where the program finds the lock. */
#define HELPER_LOCK_FD 3

/* In a session of its own, with default signals, stdin and stdout on /dev/null and stderr on `log_fd`; in the
 * namespaces `home_fds` (options.h): what lives on would keep the container's network or root otherwise. Its pid, or -errno. */
int helper_spawn(char *const *arguments, const int *home_fds, int log_fd, int lock_fd);

#endif
