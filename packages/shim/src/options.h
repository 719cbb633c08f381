/* The command line. */
#ifndef CORACLE_OPTIONS_H
#define CORACLE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define ON_NETWORK_WORDS 7
#define HOME_NAMESPACES 2 /* network and mounts */

struct options {
	const char *socket;      /* the proxy's */
	const char *sandbox;
	uint32_t process;        /* p of docs/protocol.md section 3 */
	bool forward_stdin;
	bool terminal;
	const char *name;        /* in messages: "container abc" */
	int ready_fd;            /* -1: none */
	int console_fd;          /* -1: none */
	const char *start_proxy; /* NULL: nobody to start it */
	const char *exit_file;   /* NULL: none */
	/* Namespaces for programs that we start, where they are not to be in ours; -1: none (more). */
	int home_fds[HOME_NAMESPACES];
	/* What to run when the network of our namespace has changed, word by word; the first NULL: nothing. */
	char *on_network[ON_NETWORK_WORDS + 1];
	uint8_t token[16];       /* from CORACLE_TOKEN */
	char **title;            /* after "--": what ps(1) shall show; NULL-terminated, may be empty */
};

/* 0, or -1 with a message in `error`. Takes CORACLE_TOKEN out of the environment. */
int options_parse(struct options *o, int argc, char **argv, char *error, unsigned long size);

#endif
