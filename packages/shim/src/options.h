/* The command line. */
#ifndef CORACLE_OPTIONS_H
#define CORACLE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

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
	int home_fd;             /* the network namespace for programs that we start; -1: our own */
	char **on_network;       /* what to run when the network of our namespace has changed; NULL: nothing */
	uint8_t token[16];       /* from CORACLE_TOKEN */
};

/* 0, or -1 with a message in `error`. Takes CORACLE_TOKEN out of the environment. */
int options_parse(struct options *o, int argc, char **argv, char *error, unsigned long size);

#endif
