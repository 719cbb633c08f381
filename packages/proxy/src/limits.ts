/** What the proxy's memory is bounded by (docs/limits.md, "The proxy"), in one place. */
import { readFileSync } from 'node:fs';

const MiB = 1024 * 1024;

/** What may wait for one client that does not take its frames: more, and it is cut off. */
export const MAX_CLIENT_QUEUE_BYTES = 16 * MiB;
/** The same for all clients of one sandbox: the guest decides how much it sends, so this is what a guest can take. */
export const MAX_SANDBOX_QUEUE_BYTES = 32 * MiB;
/** The same for all clients of the proxy. */
export const MAX_HOST_QUEUE_BYTES = 64 * MiB;

/** Above this a client's socket is not read on: its frames wait for the guest, and so does the rest of it. */
export const MAX_INBOUND_BYTES = 4 * MiB;
/** Control frames of one client that wait for the guest: they cost the agent an answer each. */
export const MAX_INBOUND_CONTROL_BYTES = 256 * 1024;
/** When this much waits for guests in all, each client may have only the share below. */
export const MAX_HOST_INBOUND_BYTES = 32 * MiB;
export const INBOUND_SHARE_BYTES = 64 * 1024;

/** Processes that one client is attached to. Ended ones make room. */
export const MAX_ATTACHMENTS = 4096;

/** A virtio-serial port that has not answered is connected to anew after this long, then twice that, and so on. */
export const ASK_AGAIN_AT_FIRST_MS = 2000;
export const ASK_AGAIN_AT_LAST_MS = 60_000;

/** Captures at a time, and what may wait for the reader of one: beyond that records are dropped and counted. */
export const MAX_CAPTURES = 8;
export const MAX_CAPTURE_QUEUE_BYTES = 16 * MiB;
/** While something is captured, what waits in the proxy is looked at this often. */
export const CAPTURE_LOOK_MS = 1000;

/** Processes of one link whose streams are watched for /metrics; the oldest make room. */
export const MAX_WATCHED_PROCESSES = 4096;

/** Headers of a link's last frames, kept for who looks when something hangs: 9 KiB. */
export const RECENT_FRAMES = 128;

/** Connections of clients: one per process at most, so several thousand containers on a host. */
const MAX_CLIENTS = 4096;
/** Descriptors for links, for the proxy's own files, and for clients that are being turned away. */
const RESERVED_DESCRIPTORS = 256;
/** Clients that are being told that there is no room; further ones are cut off without a word. */
export const MAX_TURNED_AWAY = 64;

/** As many clients as there are descriptors for. */
export function maxClients(): number {
  const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  const descriptors = line === null ? Number.POSITIVE_INFINITY : Number(line[1]);
  return Math.max(16, Math.min(MAX_CLIENTS, descriptors - RESERVED_DESCRIPTORS));
}
