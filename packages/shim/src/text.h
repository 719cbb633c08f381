/* Text from the guest, made fit for a terminal and for JSON. */
#ifndef CORACLE_TEXT_H
#define CORACLE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Copies UTF-8, with '?' for what is not UTF-8 and for control characters other than newline and
 * tab: an error message must not be able to drive the user's terminal. `size` includes the 0. */
void text_clean(char *out, size_t size, const uint8_t *from, size_t length);
/* Takes the half of a character from the end of clean text that was cut to fit. */
void text_trim(char *text);
/* Copies clean text with JSON's escapes. */
void text_json(char *out, size_t size, const char *from);

#endif
