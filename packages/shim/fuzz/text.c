/* Texts from the guest: whatever they are, what comes out is UTF-8 that drives no terminal and fits into
 * JSON, ends with a zero and stays within its buffer. */
#include "text.h"

#include <string.h>

#include "bounds.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes of the character that starts at `at`, 0 when it is no UTF-8 (RFC 3629, table 3-7 of Unicode). */
static size_t character(const uint8_t *at)
{
	static const struct { uint8_t first, last, low, high; size_t bytes; } forms[] = {
		{ 0x00, 0x7F, 0, 0, 1 },       { 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 },
		{ 0xE1, 0xEC, 0x80, 0xBF, 3 }, { 0xED, 0xED, 0x80, 0x9F, 3 }, { 0xEE, 0xEF, 0x80, 0xBF, 3 },
		{ 0xF0, 0xF0, 0x90, 0xBF, 4 }, { 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
	};

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (at[0] < forms[i].first || at[0] > forms[i].last)
			continue;
		for (size_t k = 1; k < forms[i].bytes; k++)
			if (at[k] < (k == 1 ? forms[i].low : 0x80) || at[k] > (k == 1 ? forms[i].high : 0xBF))
				return 0;
		return forms[i].bytes;
	}
	return 0;
}

static void check_clean(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;

	while (*at) {
		size_t bytes = character(at);
		MUST(bytes > 0);
		/* C0 and C1 controls and DEL, but for newline and tab. */
		MUST((*at >= 0x20 && *at != 0x7F) || *at == '\n' || *at == '\t');
		MUST(!(at[0] == 0xC2 && at[1] < 0xA0));
		at += bytes;
	}
}

static void check_utf8(const char *text)
{
	for (size_t bytes; *text; text += bytes) {
		bytes = character((const uint8_t *)text);
		MUST(bytes > 0);
	}
}

static void check_json(const char *text)
{
	for (; *text; text++) {
		MUST((uint8_t)*text >= 0x20 && *text != '"');
		if (*text == '\\') {
			text++;
			MUST(*text && strchr("\"\\/bfnrtu", *text));
			if (*text == 'u')
				for (int i = 0; i < 4; i++)
					MUST(*++text && strchr("0123456789abcdefABCDEF", *text));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* On the heap and of the exact size, so that the sanitizer sees the byte beyond. */
	size_t room = size == 0 ? 1 : 1 + data[0] * 17u % (2 * MESSAGE_BYTES_MAX);
	char *clean = malloc(room), *json = malloc(room);

	MUST(clean && json);
	text_clean(clean, room, data, size < MESSAGE_BYTES_MAX ? size : MESSAGE_BYTES_MAX);
	MUST(memchr(clean, 0, room));
	check_clean(clean);
	text_json(json, room, clean);
	MUST(memchr(json, 0, room));
	check_json(json);
	check_utf8(json);
	/* A text cut anywhere. */
	clean[size == 0 ? 0 : data[size - 1] % (strlen(clean) + 1)] = 0;
	text_trim(clean);
	check_clean(clean);
	free(clean);
	free(json);
	return 0;
}
