/* Descriptors that close themselves when their scope ends (crun's src/libcrun/utils.h). */
#ifndef CORACLE_SCOPE_H
#define CORACLE_SCOPE_H

#include <unistd.h>

static inline void scope_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* `autoclose int fd = open(...)`; hand the descriptor on with scope_keep(&fd). */
#define autoclose __attribute__((cleanup(scope_close)))

static inline int scope_keep(int *fd)
{
	int kept = *fd;
	*fd = -1;
	return kept;
}

#endif
