/* Starting the proxy, one starter at a time. */
#ifndef CORACLE_STARTER_H
#define CORACLE_STARTER_H

#include "options.h"

/* Starts `start_proxy`, which becomes the proxy (helper.h); its stderr goes to SOCKET.log. Its pid; 0: somebody else is starting the proxy,
 * or it runs; or -errno. */
int starter_spawn(const struct options *o);

#endif
