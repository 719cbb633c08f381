/* The state of one shim: everything is in `struct shim`, and all of it has a fixed size.
 *
 * Failure: a function that can fail returns 0 for done and -1 for failed. What can be mended by
 * connecting again is handled where it happens (link_wait_to_retry). What ends the shim is written once
 * into `shim->ending` by shim_end, which never overwrites an earlier ending; the loop in main.c
 * sees it, delivers what is still held, and exit.c ends the program. Nothing else calls exit(3)
 * after the options have been read. */
#ifndef CORACLE_SHIM_H
#define CORACLE_SHIM_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "descriptor.h"
#include "frame.h"
#include "network.h"
#include "options.h"
#include "signals.h"
#include "stream.h"

enum cause {
	CAUSE_NONE,
	/* from EXIT; the numbers are those of docs/protocol.md section 5 */
	CAUSE_EXITED = 1,
	CAUSE_SIGNALLED = 2,
	CAUSE_OUT_OF_MEMORY = 3,
	CAUSE_START_FAILED = 4,
	/* ours */
	CAUSE_VM_LOST,
	CAUSE_DETACHED,
	CAUSE_REFUSED,
	CAUSE_DATA_LOSS,
	CAUSE_LINK_FAILED,
	CAUSE_INTERRUPTED,
};

struct ending {
	enum cause cause;
	int status; /* as wait(2) gives it */
	char message[MESSAGE_BYTES_MAX + 1];
};

/* Stdio of the process that is ours to write. */
struct output {
	struct receiver stream;
	struct descriptor to;
	const char *name;
	bool keep_open; /* after the end of the stream: messages go there too */
	int error; /* errno of a write that failed, other than the reader going away */
};

/* docs/protocol.md section 3, "Control stream records" */
enum { RECORD_SIGNAL = 1, RECORD_RESIZE = 2 };

enum link_state {
	LINK_WAITING, /* for retry_at_ms */
	LINK_GREETING,
	LINK_BINDING,
	LINK_ATTACHING,
	LINK_ATTACHED,
	LINK_OVER, /* no longer needed */
};

struct link {
	enum link_state state;
	int fd;
	int64_t retry_at_ms;
	int retry_ms;
	int starter_pid;  /* the proxy that we have started, until somebody listens */
	int starts;       /* of the proxy, before the first ATTACHED */
	int broken;       /* times the peer broke the rules, with nothing delivered since */
	bool was_attached;
	uint32_t generation;
	uint8_t epoch[16];
	struct decoder decoder;
	/* One batch of frames on its way out: small ones by value, payload inside the rings. */
	struct {
		uint8_t small[1024];
		size_t small_used;
		struct iovec pieces[32];
		int first, count;
	} out;
};

struct shim {
	struct options options;
	struct signals signals;
	struct sender control, stdin_stream;
	struct descriptor input;
	bool input_in_background;
	struct output outputs[2]; /* stdout, stderr */
	struct link link;
	struct network network;
	struct ending ending;
};

/* shim.c */
int64_t now_ms(void);
void shim_end(struct shim *s, enum cause cause, int status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void shim_read_input(struct shim *s);
void shim_stop_input(struct shim *s);
bool shim_wants_input(const struct shim *s);
/* Adds a record to the control stream. */
void shim_control(struct shim *s, uint8_t kind, uint16_t a, uint16_t b);
void shim_resize(struct shim *s);
bool shim_control_has_room(const struct shim *s);
void output_take(struct output *o, const uint8_t *bytes, size_t length);
void output_flush(struct output *o);
void output_finish(struct output *o);
/* Nothing is left to do but to end. */
bool shim_is_over(const struct shim *s);

/* link.c */
void link_advance(struct shim *s);
void link_reap_starters(struct shim *s);
/* False once the last byte of an ended process is here: from then on only what we hold counts. */
bool link_is_needed(const struct shim *s);

/* send.c, receive.c */
void link_send(struct shim *s);
void link_receive(struct shim *s);

/* exit.c */
void ready(struct shim *s);
_Noreturn void finish(struct shim *s);

#endif
