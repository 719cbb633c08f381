/* What a fuzz target says when a rule does not hold: libFuzzer keeps the input of whatever aborts. */
#ifndef CORACLE_FUZZ_CHECK_H
#define CORACLE_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                  \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                         \
		}                                                                        \
	} while (0)

#endif
