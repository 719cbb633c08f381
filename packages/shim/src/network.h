/* Following the network of our namespace: the kernel tells of each change (rtnetlink(7)), and a program of the runtime's makes
 * the VM's network the same. One runs at a time; it looks by itself at what there is, so changes need no queue. */
#ifndef CORACLE_NETWORK_H
#define CORACLE_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

struct network {
	int fd;         /* -1: not followed */
	bool changed;   /* since the program was started last */
	int64_t due_at_ms;
	int pid;        /* of the program that runs; 0: none */
};

/* 0, or -1 with errno. */
int network_open(struct network *n);
/* Takes what the kernel has told. */
void network_receive(struct network *n, int64_t now);
/* Starts the program when it is time. */
void network_advance(struct network *n, const struct options *o, int64_t now);
/* The program has ended. */
void network_ended(struct network *n, int64_t now);
/* Until there is something to do; -1: nothing is due. */
int64_t network_wait_ms(const struct network *n, int64_t now);

#endif
