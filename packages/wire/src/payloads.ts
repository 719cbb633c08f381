/** The fixed payloads of frames, in the order of docs/protocol.md: WINDOW, ATTACH, ATTACHED, EXIT, texts, control records. */
import { violation } from './errors.ts';
import { readOffset, writeOffset } from './frame.ts';
import { MAX_TEXT_BYTES } from './limits.ts';

export const TOKEN_BYTES = 16;

export function encodeWindow(limit: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  writeOffset(bytes, limit, 0);
  return bytes;
}

export function decodeWindow(payload: Buffer): number {
  return readOffset(payload, 0);
}

/** Where a receiver stands and how far the sender may go. */
export interface Credit {
  readonly delivered: number;
  readonly limit: number;
}

export interface Attach {
  readonly token: Uint8Array;
  readonly stdout: Credit;
  readonly stderr: Credit;
}

export function encodeAttach(attach: Attach): Buffer {
  const bytes = Buffer.alloc(48);
  bytes.set(attach.token.subarray(0, TOKEN_BYTES), 0);
  writeOffset(bytes, attach.stdout.delivered, 16);
  writeOffset(bytes, attach.stdout.limit, 24);
  writeOffset(bytes, attach.stderr.delivered, 32);
  writeOffset(bytes, attach.stderr.limit, 40);
  return bytes;
}

export function decodeAttach(payload: Buffer): Attach {
  return {
    token: Buffer.from(payload.subarray(0, TOKEN_BYTES)),
    stdout: { delivered: readOffset(payload, 16), limit: readOffset(payload, 24) },
    stderr: { delivered: readOffset(payload, 32), limit: readOffset(payload, 40) },
  };
}

export interface Attached {
  /** The client sends stdin from `delivered` (the agent's next expected offset) up to `limit`. */
  readonly stdin: Credit;
  readonly control: Credit;
  /** Where the agent goes on sending. */
  readonly stdoutStart: number;
  readonly stderrStart: number;
}

export function encodeAttached(attached: Attached): Buffer {
  const bytes = Buffer.allocUnsafe(48);
  writeOffset(bytes, attached.stdin.delivered, 0);
  writeOffset(bytes, attached.stdin.limit, 8);
  writeOffset(bytes, attached.control.delivered, 16);
  writeOffset(bytes, attached.control.limit, 24);
  writeOffset(bytes, attached.stdoutStart, 32);
  writeOffset(bytes, attached.stderrStart, 40);
  return bytes;
}

export function decodeAttached(payload: Buffer): Attached {
  return {
    stdin: { delivered: readOffset(payload, 0), limit: readOffset(payload, 8) },
    control: { delivered: readOffset(payload, 16), limit: readOffset(payload, 24) },
    stdoutStart: readOffset(payload, 32),
    stderrStart: readOffset(payload, 40),
  };
}

/** How a process ended, as EXIT frames and WaitProcess say it. */
export const Cause = { exited: 1, signalled: 2, out_of_memory: 3, start_failed: 4 } as const;
export type CauseName = keyof typeof Cause;

export interface ExitRecord {
  readonly cause: CauseName;
  /** As wait(2) gives it. */
  readonly waitStatus: number;
  readonly stdoutFinal: number;
  readonly stderrFinal: number;
  readonly message: string;
}

export function causeName(cause: number): CauseName {
  for (const [name, number] of Object.entries(Cause)) if (number === cause) return name as CauseName;
  throw violation(`unknown cause of exit ${cause}`);
}

export function encodeExit(exit: ExitRecord): Buffer {
  const text = encodeText(exit.message);
  const bytes = Buffer.allocUnsafe(24 + text.length);
  bytes.writeUInt32LE(Cause[exit.cause], 0);
  bytes.writeUInt32LE(exit.waitStatus, 4);
  writeOffset(bytes, exit.stdoutFinal, 8);
  writeOffset(bytes, exit.stderrFinal, 16);
  text.copy(bytes, 24);
  return bytes;
}

export function decodeExit(payload: Buffer): ExitRecord {
  return {
    cause: causeName(payload.readUInt32LE(0)),
    waitStatus: payload.readUInt32LE(4),
    stdoutFinal: readOffset(payload, 8),
    stderrFinal: readOffset(payload, 16),
    message: payload.toString('utf8', 24),
  };
}

/** A code and a text, as REFUSED and GOAWAY carry them. */
export function encodeFailure(code: number, message: string): Buffer {
  const text = encodeText(message);
  const bytes = Buffer.allocUnsafe(4 + text.length);
  bytes.writeUInt32LE(code, 0);
  text.copy(bytes, 4);
  return bytes;
}

export function decodeFailure(payload: Buffer): { code: number; message: string } {
  return { code: payload.readUInt32LE(0), message: payload.toString('utf8', 4) };
}

/** UTF-8, cut at a character's start so that it fits. */
function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= MAX_TEXT_BYTES) return bytes;
  let end = MAX_TEXT_BYTES;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

export type ControlRecord =
  | { readonly kind: 'signal'; readonly signal: number }
  | { readonly kind: 'resize'; readonly columns: number; readonly rows: number };

export const CONTROL_RECORD_BYTES = 8;
export const ControlRecordKind = { signal: 1, resize: 2 } as const;

export function encodeControlRecord(record: ControlRecord): Buffer {
  const bytes = Buffer.alloc(CONTROL_RECORD_BYTES);
  if (record.kind === 'signal') {
    bytes.writeUInt8(ControlRecordKind.signal, 0);
    bytes.writeUInt16LE(record.signal, 2);
  } else {
    bytes.writeUInt8(ControlRecordKind.resize, 0);
    bytes.writeUInt16LE(record.columns, 2);
    bytes.writeUInt16LE(record.rows, 4);
  }
  return bytes;
}

/** @throws RpcError invalid_argument for a cut record, an unknown kind, or a signal that is none */
export function decodeControlRecords(bytes: Buffer): ControlRecord[] {
  if (bytes.length % CONTROL_RECORD_BYTES !== 0) throw violation('a control stream with a cut record');
  const records: ControlRecord[] = [];
  for (let at = 0; at < bytes.length; at += CONTROL_RECORD_BYTES) {
    const kind = bytes.readUInt8(at);
    const a = bytes.readUInt16LE(at + 2);
    const b = bytes.readUInt16LE(at + 4);
    if (bytes[at + 1] !== 0 || bytes.readUInt16LE(at + 6) !== 0)
      throw violation('reserved bytes set in a control record');
    if (kind === ControlRecordKind.signal && a >= 1 && a <= 64 && b === 0)
      records.push({ kind: 'signal', signal: a });
    else if (kind === ControlRecordKind.resize) records.push({ kind: 'resize', columns: a, rows: b });
    else throw violation(`control record of kind ${kind} with value ${a}`);
  }
  return records;
}
