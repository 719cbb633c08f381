/* Reads a whole input with the shim's decoder, cut into pieces, as link_receive does. */
#ifndef CORACLE_FUZZ_READER_H
#define CORACLE_FUZZ_READER_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"

/* The epoch that answers have to carry: the corpus and test/fuzz know it too. */
extern const uint8_t reader_epoch[16];

enum verdict { VERDICT_MORE, VERDICT_HEADER, VERDICT_TRAILER };

struct sink {
	void (*preamble)(void *context, const struct preamble *p);
	void (*frame)(void *context, const struct frame *f);
	void *context;
};

/* With `greeting` the input begins before the preamble, else with the first frame. `cuts` 0: pieces as
 * large as they fit, otherwise the seed of random ones. Checks that the bytes that the decoder moves are
 * no more than the bytes it was given. */
enum verdict reader_run(const uint8_t *data, size_t size, int greeting, uint32_t cuts, const struct sink *to);

#endif
