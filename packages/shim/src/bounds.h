/* Every size of the shim, with its reason. Those of docs/protocol.md carry its words. */
#ifndef CORACLE_BOUNDS_H
#define CORACLE_BOUNDS_H

#include <stdint.h>

/* docs/protocol.md, "Limits" */
#define FRAME_BYTES_MAX 32768u
#define HEADER_BYTES 24u
#define TRAILER_BYTES 4u
#define PAYLOAD_BYTES_MAX (FRAME_BYTES_MAX - HEADER_BYTES - TRAILER_BYTES)
#define PREAMBLE_BYTES 64u
#define OFFSET_MAX ((UINT64_C(1) << 53) - 1)
#define MESSAGE_BYTES_MAX 4096u
#define SANDBOX_BYTES_MAX 128u
#define PROCESS_NUMBER_MAX ((1u << 30) - 1)
#define CONTROL_RECORD_BYTES 8u
#define PROTOCOL_VERSION 1u

/* The rings are all the memory that streaming takes; with the decoder's 64 KiB and the program
 * itself their sum has to stay below 1 MiB even when every reader is stuck. A page of a ring is
 * resident only once a reader was slow, because bytes go straight to the descriptor otherwise.
 *
 * stdout: what is under way lies in the queues of the guest's port and of QEMU, where a keystroke's echo
 *         can't overtake it: 320 KiB of a flood made an echo take 2.9 times as long as alone, 96 KiB 2.6
 *         times. 128 KiB keeps 30 MB/s flowing over a round trip of 4 ms.
 * stderr: seldom carries a flood; the same mechanism, less memory.
 * stdin: must be more than a quarter of the agent's 1 MiB window, because the agent sends WINDOW
 *        after a quarter, and what it has not acknowledged is kept here: with less than 256 KiB
 *        both sides would wait for each other. The 64 KiB above it travel while WINDOW does.
 * control: twice the agent's window of 1,024 bytes; when it is full, signals stay pending in the
 *        kernel. */
#define STDOUT_RING_BYTES (128u * 1024)
#define STDERR_RING_BYTES (128u * 1024)
#define STDIN_RING_BYTES (320u * 1024)
#define CONTROL_RING_BYTES 2048u

/* Two frames: one recv(2) takes a whole frame even when the tail of another is before it, and
 * moving that tail to the front costs at most one byte per byte received. */
#define DECODER_BYTES (2 * FRAME_BYTES_MAX)

/* "A sender hands the transport no more than 64 KiB that it has not taken": Linux doubles this. */
#define SOCKET_SEND_BYTES 32768

/* Of changes of the network that come together, all are followed at once; so long after the first. Engines set an interface up
 * in several steps. */
#define NETWORK_SETTLE_MS 500

/* Between two attempts to connect. It doubles, but grows by a quarter while nobody
 * listens, so that a proxy that takes its time to start is found a quarter of that time later at most. */
#define RETRY_FIRST_MS 2
#define RETRY_LAST_MS 500

/* Before the first ATTACHED the runtime is waiting, so a proxy that never listens is an error. */
#define FIRST_STARTS_MAX 20
/* A peer that breaks the rules this often, with not one byte delivered in between, will not stop. */
#define BROKEN_LINKS_MAX 8

/* While the shim is in the background its terminal can't be read (EIO) and nothing announces the
 * foreground, so it looks again. */
#define BACKGROUND_LOOK_MS 250

#endif
