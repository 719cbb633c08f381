/** The frames of test/vectors, as what an opener and an answerer read, preamble first. */
import { readFileSync } from 'node:fs';
import { encodePreamble, Role } from '@coracle/wire';

export const FUZZ_EPOCH = Buffer.alloc(16, 7);

export const vectors: readonly Buffer[] = readFileSync('test/vectors/frames.txt', 'utf8')
  .split('\n')
  .map((line) => /^[\w-]+: ([0-9a-f ]+)$/.exec(line)?.[1])
  .filter((hex) => hex !== undefined)
  .map((hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex'));

export const preamble = encodePreamble({
  versionMin: 1,
  versionMax: 1,
  features: 0,
  epoch: Buffer.alloc(16, 9),
  echo: FUZZ_EPOCH,
  role: Role.proxy,
});

export function linkSeeds(): Buffer[] {
  return vectors.flatMap((vector) => [
    vector,
    Buffer.concat([preamble, vector]),
    Buffer.concat([Buffer.alloc(100), preamble, vector, vector]),
  ]);
}
