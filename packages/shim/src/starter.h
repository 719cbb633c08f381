/* Starting the proxy, one starter at a time. */
#ifndef CORACLE_STARTER_H
#define CORACLE_STARTER_H

#include "options.h"

/* Where the started program finds the lock. */
#define STARTER_LOCK_FD 3

/* Starts `start_proxy`, which becomes the proxy, in a session of its own with the signal state that the
 * shim itself was given; its stderr goes to SOCKET.log. Its pid; 0: somebody else is starting the proxy,
 * or it runs; or -errno. */
int starter_spawn(const struct options *o);

#endif
