/**
 * What one packet of a capture holds: a pseudo header of 16 bytes, then a frame's header and what was kept of its
 * payload, or an event (docs/capture.md, "A record").
 */
export const RECORD_VERSION = 1;
export const PSEUDO_HEADER_BYTES = 16;

export const RecordKind = { frame: 1, event: 2 } as const;

export const Direction = { none: 0, toAgent: 1, toClient: 2 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

export const RecordFlag = {
  /** The payload is not whole. */
  REDACTED: 0x01,
  /** Nobody was to have the frame. */
  UNOWNED: 0x02,
  /** Made by whoever captured. */
  OWN: 0x04,
} as const;

export const CaptureEvent = {
  link_opening: 1,
  link_open: 2,
  link_closed: 3,
  client_bound: 4,
  client_closed: 5,
  client_queue: 6,
  guest_queue: 7,
  already: 8,
  stream_state: 9,
} as const;
export type CaptureEventName = keyof typeof CaptureEvent;

/** u16 event, u16 code, u32 value; the text follows. */
export const EVENT_BYTES = 8;
/** Reasons of connections' ends are at most a GOAWAY's text and a few words. */
export const MAX_EVENT_TEXT_BYTES = 4352;
