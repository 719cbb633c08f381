/* Moves known pseudo-random data both ways until it is told to stop: the guest's half of the fault suite.
 *
 *   mover SEED_OUT SEED_IN PERIOD_MS BLOCKS EXIT_CODE
 *
 * Both directions are blocks of 512 bytes (pattern.ts has the same):
 *   0  1  'D' data, 'S' the last block, 'E' the input was wrong
 *   1  7  how many input bytes have come and were right (0 in the input)
 *   8  …  the pattern of the seed at this offset
 * Every PERIOD_MS (0: always) BLOCKS blocks are written. After the input's 'S' it writes its own and exits
 * with EXIT_CODE; at a wrong byte it writes 'E' with the offset and what came, and exits with 99. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 512, HEADER = 8, BLOCKS_MAX = 64, WRONG = 99, CLOSED = 98 };

static uint32_t word(uint32_t seed, uint32_t index)
{
	uint32_t x = seed + index * 0x9e3779b9u;

	x = (x ^ (x >> 16)) * 0x21f0aaadu;
	x = (x ^ (x >> 15)) * 0x735a2d97u;
	return x ^ (x >> 15);
}

static void fill(uint8_t *block, uint32_t seed, uint64_t number, uint8_t type, uint64_t count)
{
	count = count << 8 | type;
	memcpy(block, &count, HEADER);
	for (uint32_t i = HEADER / 4; i < BLOCK / 4; i++) {
		uint32_t value = word(seed, (uint32_t)(number * (BLOCK / 4)) + i);
		memcpy(block + 4 * i, &value, 4);
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	static uint8_t in[65536], out[(BLOCKS_MAX + 1) * BLOCK], expected[BLOCK];
	uint64_t came = 0, written = 0;
	size_t at = 0, end = 0;
	int stopping = 0, ended = 0, code;
	struct termios modes;

	if (argc != 6)
		return 2;
	uint32_t seed_out = (uint32_t)strtoul(argv[1], NULL, 10), seed_in = (uint32_t)strtoul(argv[2], NULL, 10);
	int period = atoi(argv[3]), blocks = atoi(argv[4]);
	code = atoi(argv[5]);
	if (blocks < 1 || blocks > BLOCKS_MAX)
		return 2;
	if (tcgetattr(0, &modes) == 0) {
		cfmakeraw(&modes);
		tcsetattr(0, TCSANOW, &modes);
	}
	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
	fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
	for (int64_t due = now_ms();;) {
		if (at == end) {
			if (ended)
				return code;
			at = end = 0;
			if (stopping) {
				fill(out, seed_out, written++, 'S', came);
				end = BLOCK;
				ended = 1;
			} else if (now_ms() >= due) {
				for (int i = 0; i < blocks; i++, end += BLOCK)
					fill(out + end, seed_out, written++, 'D', came);
				due = now_ms() + period;
			}
		}
		int64_t wait = due - now_ms();
		struct pollfd polled[2] = { { .fd = stopping ? -1 : 0, .events = POLLIN },
					    { .fd = at < end ? 1 : -1, .events = POLLOUT } };
		poll(polled, 2, at < end ? -1 : wait > 0 ? (int)wait : 0);
		if (polled[1].revents) {
			ssize_t put = write(1, out + at, end - at);
			if (put < 0 && errno != EAGAIN && errno != EINTR)
				return CLOSED;
			at += put > 0 ? (size_t)put : 0;
		}
		if (!polled[0].revents)
			continue;
		ssize_t got = read(0, in, sizeof in);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		int wrong = got <= 0;
		for (ssize_t i = 0; i < got && !stopping && !wrong; i++) {
			size_t within = came % BLOCK;
			if (within == 0)
				fill(expected, seed_in, came / BLOCK, in[i] == 'S' ? 'S' : 'D', 0);
			if (in[i] == expected[within]) {
				came++;
				stopping = within == BLOCK - 1 && expected[0] == 'S';
				continue;
			}
			wrong = 1;
			/* What waits is dropped at a block's end: the report is whole. */
			end = at + (BLOCK - at % BLOCK) % BLOCK;
			memset(out + end, 0, BLOCK);
			uint64_t header = came << 8 | 'E';
			memcpy(out + end, &header, HEADER);
			size_t length = (size_t)(got - i) < BLOCK - HEADER ? (size_t)(got - i) : BLOCK - HEADER;
			memcpy(out + end + HEADER, in + i, length);
			end += BLOCK;
		}
		if (wrong) {
			code = got <= 0 ? CLOSED : WRONG;
			ended = 1;
			stopping = 1;
		}
	}
}
