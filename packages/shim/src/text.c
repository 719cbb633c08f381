#include "text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the valid, printable sequence at `at`; 0: none. */
static size_t sequence(const uint8_t *at, size_t have)
{
	static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t bytes = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : at[0] >> 3 == 30 ? 4 : 0;

	if (bytes == 0 || bytes > have)
		return 0;
	if (bytes == 1)
		return at[0] == '\n' || at[0] == '\t' || (at[0] >= 0x20 && at[0] != 0x7f) ? 1 : 0;
	uint32_t point = at[0] & (0x7fu >> bytes);
	for (size_t i = 1; i < bytes; i++) {
		if (at[i] >> 6 != 2)
			return 0;
		point = point << 6 | (at[i] & 0x3fu);
	}
	bool ok = point >= smallest[bytes] && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) && point >= 0xa0;
	return ok ? bytes : 0;
}

void text_clean(char *out, size_t size, const uint8_t *from, size_t length)
{
	size_t used = 0;

	for (size_t i = 0; i < length;) {
		size_t bytes = sequence(from + i, length - i);
		if (used + (bytes ? bytes : 1) >= size)
			break;
		if (bytes == 0) {
			out[used++] = '?';
			i++;
			continue;
		}
		memcpy(out + used, from + i, bytes);
		used += bytes;
		i += bytes;
	}
	out[used] = 0;
}

void text_trim(char *text)
{
	size_t length = strlen(text), first = length;

	while (first > 0 && ((uint8_t)text[first - 1] & 0xC0) == 0x80)
		first--;
	if (first > 0 && sequence((const uint8_t *)text + first - 1, length - (first - 1)) != length - (first - 1))
		text[first - 1] = 0;
}

void text_json(char *out, size_t size, const char *from)
{
	size_t used = 0;

	for (; *from; from++) {
		char piece[8];
		unsigned char c = (unsigned char)*from;
		if (c == '"' || c == '\\')
			snprintf(piece, sizeof piece, "\\%c", c);
		else if (c < 0x20)
			snprintf(piece, sizeof piece, "\\u%04x", c);
		else
			snprintf(piece, sizeof piece, "%c", c);
		size_t length = strlen(piece);
		if (used + length >= size)
			break;
		memcpy(out + used, piece, length);
		used += length;
	}
	out[used] = 0;
	if (*from)
		text_trim(out);
}
