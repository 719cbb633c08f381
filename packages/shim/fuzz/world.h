/* What surrounds the shim's streams and its link, for machine.c: sockets and descriptors that do what the
 * input says (world.c), and an agent behind a proxy that keeps the rules of docs/protocol.md and notices
 * when the shim does not (peer.c). One of each, set up anew for every input. */
#ifndef CORACLE_FUZZ_WORLD_H
#define CORACLE_FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "link.h"

#define PROCESS 7u
#define AGENT_WINDOW (1024u * 1024)
#define CONTROL_WINDOW 1024u
#define UNLIMITED SIZE_MAX

/* stdin or the control stream, as the agent sees it. */
struct peer_input {
	uint64_t prefix; /* an earlier owner has sent this much */
	uint64_t expected, delivered, limit;
	uint64_t final;
	bool has_final, stopped;
};

/* stdout or stderr, as the agent sees it. */
struct peer_output {
	uint64_t next, end, sent; /* sent: highest offset ever */
	uint64_t delivered, limit;
	uint64_t final;
	bool has_final, stopped;
};

enum awaited { AWAIT_NOTHING, AWAIT_PREAMBLE, AWAIT_BOUND, AWAIT_ATTACHED };

struct world {
	struct shim shim;
	/* The peer has broken the rules, so nothing is sure any more but that the shim survives. */
	bool tainted;
	/* The peer has ended the shim: REFUSED, DETACHED, a final GOAWAY. */
	bool dismissed;
	/* the socket */
	uint8_t incoming[1 << 18];
	size_t in_head, in_tail;
	bool connected, in_closed;
	size_t recv_most, send_room;
	uint32_t random;
	/* the descriptors */
	size_t out_room[2];
	int out_error[2];
	uint64_t out_written[2];
	size_t in_ready;
	bool in_ended;
	uint64_t in_read;      /* bytes of stdin that the shim has read */
	uint32_t signals, signals_seen;
	/* the peer */
	struct decoder sent;
	bool greeted, said_goodbye, attached;
	bool deaf; /* what the shim sends now is lost with the connection */
	enum awaited awaited;
	uint32_t generation, last_generation;
	struct peer_input inputs[2]; /* by stream: control, stdin */
	struct peer_output outputs[2];
	uint64_t asked[2]; /* `delivered` of the last ATTACH */
	bool exited;
	uint32_t exit_code;
};

extern struct world world;

/* The byte of a stream at an offset: whoever reads one knows what it has to be. */
uint8_t pattern(unsigned int stream, uint64_t offset);

/* world.c */
void world_reset(uint64_t stdin_prefix, uint64_t control_prefix, uint64_t stdout_prefix, uint64_t stderr_prefix);
void world_cut(size_t keep);

/* peer.c: what the shim has sent. */
void peer_connected(void);
void peer_closed(void);
void peer_take(const uint8_t *bytes, size_t length);
/* peer.c: what it gets. Each sends nothing when an honest peer could not send it now. */
void peer_raw(const void *bytes, size_t length);
void peer_frame(const struct frame *f);
void peer_answer(void);
void peer_data(unsigned int i, size_t length, size_t back);
void peer_data_of_old(unsigned int i);
void peer_eof(unsigned int i);
void peer_exit(void);
void peer_window(unsigned int stream, size_t bytes);
void peer_stop(unsigned int stream);
void peer_goaway(uint32_t code);

#endif
