/** Limits of the protocol (docs/protocol.md, section Limits), in one place. */

/** One write of a virtio-serial port takes no more (Linux drivers/char/virtio_console.c, port_fops_write). */
export const MAX_FRAME_BYTES = 32_768;
export const HEADER_BYTES = 24;
export const TRAILER_BYTES = 4;
export const MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - HEADER_BYTES - TRAILER_BYTES;
/** A config.json with a large seccomp profile is about 100 KiB; nothing known comes near this. */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/**
 * What an opener skips before the answer to its preamble: what the agent still sends for the epoch before, while
 * half a megabyte of the old one is in the port's queue. Ten times what that can be; a guest that goes on lies.
 */
export const MAX_SKIPPED_BYTES = 64 * 1024 * 1024;
/** Text in REFUSED, EXIT and GOAWAY. */
export const MAX_TEXT_BYTES = 4096;
/** Twice the bandwidth times the round trip measured under emulation. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/** A receiver says what it has delivered after this much, if a quarter of its window is more: so little must be kept. */
export const TELL_BYTES = 64 * 1024;
/** 128 records of 8 bytes. */
export const CONTROL_WINDOW_BYTES = 1024;
/** What is in the transport's queue can no longer be overtaken by control frames. */
export const TRANSPORT_QUEUE_BYTES = 64 * 1024;
/** Requests under way at a time on one client's connection. */
export const MAX_REQUESTS = 256;
/** The same on the link of a sandbox, which its clients share: one of them can't use up all. */
export const MAX_LINK_REQUESTS = 1024;
/** Methods that an agent runs at a time, cancelled ones that run to their end included. */
export const MAX_RUNNING_CALLS = 1024;
/** All unfinished messages of one connection together: eight of the largest. */
export const MAX_UNFINISHED_BYTES = 32 * 1024 * 1024;
/** Results kept for repeated idempotency keys. */
export const REMEMBERED_CALLS = 1024;
export const MAX_PROCESS_NUMBER = 2 ** 30 - 1;
/**
 * A peer that says a stream begins above this lies: 4 PiB were never sent. It keeps all sums of offsets,
 * windows and lengths exact in a double.
 */
export const MAX_START_OFFSET = 2 ** 52;
/** The longest time that Node's timers can wait; a longer one would end at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;
/** Longest idempotency key: 1,024 of them are remembered. */
export const MAX_KEY_BYTES = 128;
/** What remembered results may take; the oldest go first. */
export const REMEMBERED_BYTES = 8 * 1024 * 1024;
/** After GOAWAY: how long a peer that still sends is read, and how much of it is thrown away. */
export const LINGER_MS = 1000;
export const LINGER_BYTES = 4 * 1024 * 1024;
/** Connections of a process that do so at a time: each keeps a descriptor. */
export const MAX_LINGERING = 64;
