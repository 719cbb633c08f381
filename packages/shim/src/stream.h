/* The two tables of docs/protocol.md section 3: what the sender and the receiver of a numbered
 * stream count, and the rules they keep. Pure: no descriptors. Functions that judge the peer
 * return 0, or -1 with `*why` when it broke the rules. */
#ifndef CORACLE_STREAM_H
#define CORACLE_STREAM_H

#include <stdbool.h>

#include "bounds.h"
#include "ring.h"

/* stdin and the control stream. ring holds [base, end). */
struct sender {
	struct ring ring;
	uint64_t base;      /* the peer has what is before it; kept from here; moved by ATTACHED, WINDOW */
	uint64_t next;      /* sent up to here on this connection */
	uint64_t delivered; /* what WINDOW said last in this generation; may be behind base then */
	uint64_t limit;     /* the peer's credit; never goes back within a generation */
	uint64_t final;     /* with has_final: the end of file */
	bool has_final;
	bool stopped;   /* the peer wants no more */
	bool eof_owed;  /* an EOF frame is to be sent */
	bool numbered;  /* the first ATTACHED has told where our bytes begin */
};

uint64_t sender_end(const struct sender *s);
size_t sender_room(const struct sender *s);
void sender_finish(struct sender *s);
int sender_attached(struct sender *s, uint64_t expected, uint64_t limit, const char **why);
int sender_window(struct sender *s, uint64_t delivered, uint64_t limit, const char **why);
void sender_stop(struct sender *s);
/* Bytes of the next DATA frame, a multiple of `unit`; 0: nothing to send or no credit. */
size_t sender_ready(const struct sender *s, size_t unit);

/* stdout and stderr. ring holds [delivered, expected). */
struct receiver {
	struct ring ring;
	uint64_t expected;
	uint64_t delivered;
	uint64_t granted;   /* credit the peer has been given */
	uint64_t announced; /* `delivered` as last told to the peer */
	uint64_t final;
	bool has_final;
	bool stopped;     /* our reader went away; what still comes is dropped */
	bool stop_owed;   /* a STOP frame is to be sent */
	bool window_owed; /* WINDOW is due whatever has been delivered */
	bool numbered;
};

/* Credit and offsets as ATTACH tells them. */
void receiver_attach(struct receiver *r);
/* 1: bytes that another owner was given are missing here. */
int receiver_attached(struct receiver *r, uint64_t start, const char **why);
/* Judges DATA; `*skip` is how much of its front is known already. The rest is then handed to
 * receiver_delivered and ring_put, in this order, until all of it is one of both. */
int receiver_data(struct receiver *r, uint64_t offset, size_t length, size_t *skip, const char **why);
int receiver_final(struct receiver *r, uint64_t final, const char **why);
void receiver_delivered(struct receiver *r, size_t bytes);
void receiver_stop(struct receiver *r);
bool receiver_window_due(const struct receiver *r);
/* Takes note that WINDOW(delivered, returned limit) is sent. */
uint64_t receiver_grant(struct receiver *r);
bool receiver_has_all(const struct receiver *r);
bool receiver_done(const struct receiver *r);

#endif
