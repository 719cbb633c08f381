/** Fixed payloads: each parser takes what its writer writes, and throws nothing but a violation. */
import {
  decodeAttach,
  decodeAttached,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  decodeWindow,
  encodeAttach,
  encodeAttached,
  encodeControlRecord,
  encodeExit,
  encodeFailure,
  encodeWindow,
  type Frame,
  FrameType,
  isRpcError,
  MessageAssembler,
  MORE,
} from '@coracle/wire';
import { findFrames } from '../mutate.ts';
import { vectors } from '../seeds.ts';
import { must, type Target } from '../target.ts';

/** By frame type: parses, and writes what it has parsed. */
const parsers: Partial<Record<number, (payload: Buffer) => Buffer>> = {
  [FrameType.WINDOW]: (payload) => encodeWindow(decodeWindow(payload)),
  [FrameType.ATTACH]: (payload) => encodeAttach(decodeAttach(payload)),
  [FrameType.ATTACHED]: (payload) => encodeAttached(decodeAttached(payload)),
  [FrameType.EXIT]: (payload) => encodeExit(decodeExit(payload)),
  [FrameType.REFUSED]: (payload) => encodeFailureOf(payload),
  [FrameType.GOAWAY]: (payload) => encodeFailureOf(payload),
  [FrameType.DATA]: (payload) => Buffer.concat(decodeControlRecords(payload).map(encodeControlRecord)),
};

function encodeFailureOf(payload: Buffer): Buffer {
  const { code, message } = decodeFailure(payload);
  return encodeFailure(code, message);
}

/** Bytes before the text, which need not be UTF-8 and then comes back with replacement characters. */
const textFrom: Partial<Record<number, number>> = {
  [FrameType.EXIT]: 24,
  [FrameType.REFUSED]: 4,
  [FrameType.GOAWAY]: 4,
};

function allowed<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (isRpcError(error) && error.code === 'invalid_argument') return undefined;
    throw error;
  }
}

export const target: Target = {
  format: 'frames',
  maxBytes: 8192,
  seeds: () => [...vectors],
  workLimit: (bytes) => 2000 + 200 * bytes,
  run(input) {
    const assembler = new MessageAssembler(4);
    let assembled = 0;
    for (const { at, end } of findFrames(input)) {
      const payload = input.subarray(at + 24, end - 4);
      const type = input.readUInt8(at + 4);
      const sizes: Partial<Record<number, readonly [number, number]>> = {
        [FrameType.WINDOW]: [8, 8],
        [FrameType.ATTACH]: [48, 48],
        [FrameType.ATTACHED]: [48, 48],
        [FrameType.EXIT]: [24, 4120],
        [FrameType.REFUSED]: [4, 4100],
        [FrameType.GOAWAY]: [4, 4100],
      };
      const [least, most] = sizes[type] ?? [0, 32740];
      if (payload.length < least || payload.length > most) continue;
      const written = allowed(() => parsers[type]?.(payload));
      if (written !== undefined) {
        const exact = textFrom[type] ?? payload.length;
        must(
          written.subarray(0, exact).equals(payload.subarray(0, exact)),
          `payload of type ${type} comes back`,
        );
      }
      const frame = { id: input.readUInt32LE(at + 8) % 8, flags: input.readUInt8(at + 5) & MORE, payload };
      const message = allowed(() => assembler.add(frame as Frame));
      assembled += payload.length;
      must(message === undefined || message.length <= assembled, 'a message is its parts');
    }
  },
};
