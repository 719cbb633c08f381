/**
 * The protobuf messages of requests and answers: bytes that are no message throw an Error, at once; bytes that
 * are one mean the same after they were written and read again. A message has no more parts than bytes.
 */
import { agentMethods, ErrorMessage, Request, Response } from '@coracle/wire';
import { must, type Target } from '../target.ts';

interface Codec {
  decode(bytes: Uint8Array): object;
  encode(message: object): { finish(): Uint8Array };
  fromPartial(partial: object): object;
}

const codecs = [
  Request,
  Response,
  ErrorMessage,
  ...Object.values(agentMethods).flatMap((method) => [method.requestType, method.responseType]),
] as unknown as Codec[];

/** Elements of lists and maps, at any depth: what a message's memory grows with, besides its bytes. */
function elements(value: unknown): number {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return 0;
  const own = Array.isArray(value) ? value.length : 0;
  return Object.values(value).reduce((sum: number, part) => sum + elements(part), own);
}

export const target: Target = {
  format: 'bytes',
  maxBytes: 4096,
  seeds: () =>
    codecs.flatMap((codec, index) => {
      const empty = codec.encode(codec.fromPartial({})).finish();
      // Field 1 and field 2 as a string, a number and a message within.
      return [
        empty,
        Buffer.from('0a03616263', 'hex'),
        Buffer.from('0805100a', 'hex'),
        Buffer.from('0a060a0161120162', 'hex'),
      ].map((bytes) => Buffer.concat([Buffer.of(index), bytes]));
    }),
  workLimit: (bytes) => 2000 + 200 * bytes,
  run(input) {
    const codec = codecs[(input[0] ?? 0) % codecs.length] as Codec;
    const bytes = input.subarray(1);
    let message: object;
    try {
      message = codec.decode(bytes);
    } catch (error) {
      must(error instanceof Error && !/call stack/.test(error.message), `an Error is thrown, not ${error}`);
      return;
    }
    must(elements(message) <= bytes.length, `${elements(message)} elements of ${bytes.length} bytes`);
    const written = codec.encode(message).finish();
    const again = codec.encode(codec.decode(written)).finish();
    must(Buffer.compare(written, again) === 0, 'a message that was written reads the same');
  },
};
