/* One question to the name server: by UDP one datagram each way, by TCP one message each way (RFC 1035, 4.2.2), on a
 * socket of its own. A socket that lived longer would keep the address translation of a name server that is gone. */
#ifndef CORACLE_NAMES_QUERY_H
#define CORACLE_NAMES_QUERY_H

#include <netinet/in.h>

#include "record.h"

struct query {
	int fd;           /* -1: the place is free */
	uint16_t number;
	enum kind kind;
	short events;     /* for poll(2) */
	int64_t until_ms;
	/* Of TCP: the length and the message, first ours and then the answer. */
	uint8_t *bytes;
	size_t length, done;
};

/* -1 when it cannot be asked; the place stays free then. */
int query_ask(struct query *q, const struct record *r, const struct sockaddr_in *server, int64_t until_ms);

enum progress { PROGRESS_WAIT, PROGRESS_ANSWERED, PROGRESS_FAILED };

/* The socket is ready. `answer` lies in `room`, which has MESSAGE_MAX_BYTES, or in the query, until query_end. */
enum progress query_advance(struct query *q, uint8_t *room, struct record *answer);

void query_end(struct query *q);

#endif
