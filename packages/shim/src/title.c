#include "title.h"

#include <string.h>

static int own(const char **text)
{
	if (*text && !(*text = strdup(*text)))
		return -1;
	return 0;
}

int title_show(struct options *o, char **argv)
{
	char *to = argv[0], *end = NULL;

	if (!o->title || !*o->title)
		return 0;
	if (own(&o->socket) < 0 || own(&o->sandbox) < 0 || own(&o->name) < 0 || own(&o->start_proxy) < 0 ||
	    own(&o->exit_file) < 0)
		return -1;
	for (char **word = o->on_network; *word; word++)
		if (!(*word = strdup(*word)))
			return -1;
	/* The words lie behind each other, and those of the title behind all others: none is overwritten unread. */
	for (char **word = o->title; *word; word++) {
		size_t length = strlen(*word) + 1;

		end = *word + length;
		memmove(to, *word, length);
		to += length;
	}
	memset(to, 0, (size_t)(end - to));
	o->title = NULL;
	return 0;
}
