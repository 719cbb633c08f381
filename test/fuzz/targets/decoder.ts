/**
 * Any bytes through the decoder. However they are cut, and whether frames that come in pieces are put
 * together in the same memory or not, they mean the same: what the slow reference codec makes of them.
 * Work and copies are proportional to the bytes even when every byte comes alone.
 */
import { Decoder, type Frame, isRpcError, type Preamble } from '@coracle/wire';
import { type ReferenceEvent, referenceDecode } from '../../../packages/wire/src/testing/reference-codec.ts';
import { hash, Random } from '../random.ts';
import { linkSeeds } from '../seeds.ts';
import { must, type Target } from '../target.ts';

const EPOCH = Buffer.alloc(16, 7);

/** Bytes that Buffer copied since the last input: the part of the work that has no statements. */
let copiedBytes = 0;
const { concat, from } = Buffer;
const copy = Buffer.prototype.copy;
Buffer.concat = (list: readonly Uint8Array[], length?: number) => {
  const joined = length === undefined ? concat.call(Buffer, list) : concat.call(Buffer, list, length);
  copiedBytes += joined.length;
  return joined as Buffer<ArrayBuffer>;
};
Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<typeof copy>) {
  const copied = copy.apply(this, args);
  copiedBytes += copied;
  return copied;
};
Buffer.from = ((value: unknown, ...rest: unknown[]) => {
  if (value instanceof Uint8Array) copiedBytes += value.length;
  return (from as (...args: unknown[]) => Buffer).call(Buffer, value, ...rest);
}) as typeof Buffer.from;

/** Ways to cut an input. */
const cuts: Record<string, (random: Random) => number> = {
  whole: () => Number.POSITIVE_INFINITY,
  bytes: () => 1,
  pieces: (random) => 1 + random.below(random.below(8) ? 40 : 40_000),
};

function lineOf(event: ReferenceEvent): string {
  if (event.kind === 'error') return 'error';
  if (event.kind === 'preamble') return `preamble ${hash(Uint8Array.from(event.bytes.slice(16, 57)))}`;
  const { type, flags, id, generation, offset, payload } = event.frame;
  return `frame ${type} ${flags} ${id} ${generation} ${offset} ${payload.length} ${hash(Uint8Array.from(payload))}`;
}

function lineOfPreamble({ versionMin, versionMax, features, epoch, echo, role }: Preamble): string {
  const bytes = Buffer.alloc(41);
  bytes.writeUInt16LE(versionMin, 0);
  bytes.writeUInt16LE(versionMax, 2);
  bytes.writeUInt32LE(features, 4);
  bytes.set(epoch, 8);
  bytes.set(echo, 24);
  bytes.writeUInt8(role, 40);
  return `preamble ${hash(bytes)}`;
}

function lineOfFrame({ type, flags, id, generation, offset, payload }: Frame): string {
  return `frame ${type} ${flags} ${id} ${generation} ${offset} ${payload.length} ${hash(payload)}`;
}

function decode(
  input: Buffer,
  resynchronise: boolean,
  cut: keyof typeof cuts,
  reuseMemory: boolean,
): string[] {
  const lines: string[] = [];
  const decoder = new Decoder(
    {
      preamble: (preamble) => {
        lines.push(lineOfPreamble(preamble));
        return preamble.echo.equals(EPOCH);
      },
      frame: (frame) => {
        must(frame.encoded.length === frame.payload.length + 28, 'a frame is its payload and 28 bytes');
        lines.push(lineOfFrame(frame));
      },
    },
    { resynchronise, reuseMemory },
  );
  const random = new Random(hash(input));
  const most = cuts[cut] as (random: Random) => number;
  try {
    for (let at = 0; at < input.length; ) {
      const end = Math.min(input.length, at + most(random));
      decoder.push(input.subarray(at, end));
      at = end;
    }
  } catch (error) {
    if (!isRpcError(error) || error.code !== 'invalid_argument') throw error;
    lines.push('error');
  }
  return lines;
}

export const target: Target = {
  format: 'frames',
  maxBytes: 16_384,
  seeds: linkSeeds,
  workLimit: (bytes) => 4000 + 400 * bytes,
  run(input) {
    for (const resynchronise of [false, true]) {
      const accept = (preamble: number[]) => EPOCH.equals(Uint8Array.from(preamble.slice(40, 56)));
      const expected = referenceDecode(input, resynchronise, accept).map(lineOf).join('\n');
      for (const cut of Object.keys(cuts)) {
        copiedBytes = 0;
        const found = decode(input, resynchronise, cut, cut !== 'pieces').join('\n');
        must(
          found === expected,
          `${cut}, ${resynchronise ? 'answerer' : 'opener'}: got\n${found}\nexpected\n${expected}`,
        );
        // A byte that comes alone while scanning is joined with up to 63 others, and kept with as many.
        must(
          copiedBytes <= 512 + 128 * input.length,
          `${copiedBytes} bytes copied for ${input.length}, ${cut}`,
        );
      }
    }
  },
};
