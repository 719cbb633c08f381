/* Frames and preambles as docs/protocol.md sections 1 and 2 draw them. Plain data: bytes in,
 * frames out; no sockets, no timers. */
#ifndef CORACLE_FRAME_H
#define CORACLE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

enum frame_type {
	FRAME_DATA = 0x01,
	FRAME_EOF = 0x02,
	FRAME_WINDOW = 0x03,
	FRAME_STOP = 0x04,
	FRAME_ATTACH = 0x05,
	FRAME_ATTACHED = 0x06,
	FRAME_REFUSED = 0x07,
	FRAME_EXIT = 0x08,
	FRAME_DETACHED = 0x09,
	FRAME_REQUEST = 0x10,
	FRAME_RESPONSE = 0x11,
	FRAME_CANCEL = 0x12,
	FRAME_BIND = 0x20,
	FRAME_BOUND = 0x21,
	FRAME_GOAWAY = 0x22,
};

#define FRAME_FLAG_MORE 0x01u

enum role { ROLE_CLIENT = 1, ROLE_PROXY = 2, ROLE_AGENT = 3 };

struct frame {
	uint32_t length; /* payload bytes */
	uint8_t type;
	uint8_t flags;
	uint32_t id;
	uint32_t generation;
	uint64_t offset;
	const uint8_t *payload; /* inside the decoder, until the next call */
};

struct decoder {
	uint8_t bytes[DECODER_BYTES];
	size_t head; /* first byte not yet given out */
	size_t tail; /* first free byte */
};

struct preamble {
	uint16_t version_min, version_max;
	uint32_t features;
	uint8_t epoch[16], echo[16];
	uint8_t role;
};

uint32_t load32(const uint8_t *at);
uint64_t load64(const uint8_t *at);
void store32(uint8_t *at, uint32_t value);
void store64(uint8_t *at, uint64_t value);

void decoder_reset(struct decoder *d);
/* Where recv(2) may put bytes, and how many; never 0. */
size_t decoder_space(struct decoder *d, uint8_t **at);
void decoder_filled(struct decoder *d, size_t bytes);
/* 1: `f` is the next frame. 0: more bytes are needed. -1: the rules are broken, `*why` says how. */
int decoder_next(struct decoder *d, struct frame *f, const char **why);
/* Skips every byte before a preamble whose echo is `epoch`. 1: found. 0: more bytes are needed. */
int decoder_preamble(struct decoder *d, const uint8_t epoch[16], struct preamble *p);

void preamble_encode(uint8_t out[PREAMBLE_BYTES], const uint8_t epoch[16]);
void header_encode(uint8_t out[HEADER_BYTES], const struct frame *f);
extern const uint8_t frame_trailer[TRAILER_BYTES];

#endif
