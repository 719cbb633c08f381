/**
 * The same inputs through the shim's decoder and through ours have to give the same frames and the same
 * verdict: `differential.ts SECONDS SEED`. The shim is an opener, so ours decodes as one. Both judge a header as
 * soon as it is whole, in an order of their own: that it was refused is compared, not which of two rules it broke.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Decoder, isRpcError } from '@coracle/wire';
import { mutate } from './mutate.ts';
import { corpusFolder, outFolder } from './places.ts';
import { hash, Random } from './random.ts';
import { FUZZ_EPOCH, linkSeeds, preamble } from './seeds.ts';

const PROGRAM = '.build/shim/verdicts';
const BATCH = 1000;
const MAX_BYTES = 70_000;

function verdictOfOurs(input: Buffer, random: Random): string {
  const lines: string[] = [];
  const decoder = new Decoder(
    {
      preamble: ({ versionMin, versionMax, features, role, epoch, echo }) => {
        const accepted = echo.equals(FUZZ_EPOCH);
        if (accepted)
          lines.push(`preamble ${versionMin} ${versionMax} ${features} ${role} ${epoch.toString('hex')}`);
        return accepted;
      },
      frame: ({ type, flags, id, generation, offset, payload }) =>
        lines.push(`frame ${type} ${flags} ${id} ${generation} ${offset} ${payload.length} ${hash(payload)}`),
    },
    { resynchronise: false, reuseMemory: random.below(2) === 0 },
  );
  try {
    for (let at = 0; at < input.length; ) {
      const end = Math.min(input.length, at + 1 + random.below(random.below(4) ? 50 : 70_000));
      decoder.push(input.subarray(at, end));
      at = end;
    }
  } catch (error) {
    if (!isRpcError(error)) throw error;
    lines.push(`error ${error.message.includes('trailer') ? 'trailer' : 'header'}`);
  }
  return lines.join('\n');
}

/** What the C program says of each input; it ends itself at the first fault. */
function verdictsOfShim(inputs: readonly Buffer[]): string[] {
  const stdin = inputs.flatMap((input) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(input.length);
    return [length, input];
  });
  const { stdout, stderr, status } = spawnSync(PROGRAM, { input: Buffer.concat(stdin), maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${PROGRAM} ended with ${status}: ${stderr}`);
  return stdout
    .toString('latin1')
    .split('end\n')
    .map((text) => text.trimEnd());
}

/** @returns the first input that the two see differently */
function compare(inputs: readonly Buffer[], random: Random): { input: Buffer; error: string } | undefined {
  const theirs = verdictsOfShim(inputs);
  for (const [index, input] of inputs.entries()) {
    const ours = verdictOfOurs(input, random);
    if (theirs[index] !== ours) return { input, error: `the shim:\n${theirs[index]}\nTypeScript:\n${ours}` };
  }
  return undefined;
}

function main(seconds: number, seed: number): void {
  const random = new Random(seed);
  const kept = readdirSync(corpusFolder('differential')).map((file) =>
    readFileSync(path.join(corpusFolder('differential'), file)),
  );
  // Most inputs of the corpus are for the first frame; behind a preamble they are read here too.
  const base = [...linkSeeds(), ...kept, ...kept.map((input) => Buffer.concat([preamble, input]))];
  const end = performance.now() + seconds * 1000;
  let executions = 0;
  let inputs = base;
  for (;;) {
    const crash = compare(inputs, random);
    executions += inputs.length;
    if (crash !== undefined) {
      mkdirSync(outFolder, { recursive: true });
      const file = path.join(outFolder, `crash-differential-${hash(crash.input).toString(16)}`);
      writeFileSync(file, crash.input);
      console.log(JSON.stringify({ executions, corpus: base.length, crash: { file, error: crash.error } }));
      return;
    }
    console.log(JSON.stringify({ executions, corpus: base.length, done: performance.now() >= end }));
    if (performance.now() >= end) return;
    inputs = Array.from({ length: BATCH }, () =>
      mutate(random.pick(base), random.pick(base), 'frames', MAX_BYTES, random),
    );
  }
}

const [first = '10', second = '1'] = process.argv.slice(2);
if (first === 'repeat') {
  console.log(compare([readFileSync(second)], new Random(1))?.error ?? 'both see the same');
} else main(Number(first), Number(second));
