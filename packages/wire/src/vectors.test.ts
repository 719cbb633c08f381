/** test/vectors/frames.txt, which packages/shim reads too: both programs must read the same bytes alike. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encodeFrame, type FrameType } from './frame.ts';
import { HEADER_BYTES } from './limits.ts';
import { decodePreamble, encodePreamble } from './preamble.ts';
import { collect, preamble } from './testing/arbitraries.ts';
import { referenceDecode, referenceEncode } from './testing/reference-codec.ts';

interface Vector {
  readonly name: string;
  readonly bytes: Buffer;
  readonly fields: Record<string, string>;
}

function readVectors(): Vector[] {
  const vectors: Vector[] = [];
  const text = readFileSync(new URL('../../../test/vectors/frames.txt', import.meta.url), 'utf8');
  for (const line of text.split('\n')) {
    const vector = /^([\w-]+): ([0-9a-f ]*)$/.exec(line);
    const field = /^(\w+)=(.*)$/.exec(line);
    if (vector) {
      const bytes = Buffer.from((vector[2] as string).replaceAll(' ', ''), 'hex');
      vectors.push({ name: vector[1] as string, bytes, fields: {} });
    } else if (field) {
      const last = vectors.at(-1);
      if (last === undefined) throw new Error(`a field before the first vector: ${line}`);
      last.fields[field[1] as string] = field[2] as string;
    } else if (line !== '' && !line.startsWith('#')) throw new Error(`a line that is none: ${line}`);
  }
  return vectors;
}

const vectors = readVectors();
const ofKind = (kind: string): [string, Vector][] =>
  vectors.filter((vector) => vector.fields.kind === kind).map((vector) => [vector.name, vector]);

/** Both roles; an opener has no memory to resynchronise from. */
function decodeAsOpener(chunks: Buffer[]) {
  const collected = collect({ resynchronise: false });
  collected.decoder.push(preamble());
  for (const chunk of chunks) collected.decoder.push(chunk);
  return collected.frames;
}

describe('vectors', () => {
  it('are of a known kind, each', () => {
    expect(vectors.length).toBeGreaterThan(40);
    expect(new Set(vectors.map((vector) => vector.name)).size).toBe(vectors.length);
    for (const vector of vectors) expect(['frame', 'broken', 'preamble']).toContain(vector.fields.kind);
  });

  it.each(ofKind('frame'))('%s is decoded and encoded to the same bytes', (_, { bytes, fields }) => {
    const expected = {
      type: Number(fields.type) as FrameType,
      flags: Number(fields.flags),
      id: Number(fields.id),
      generation: Number(fields.generation),
      offset: Number(fields.offset),
      payload: Buffer.from(fields.payload ?? '', 'hex'),
    };
    for (let cut = 0; cut <= bytes.length; cut++) {
      const [frame, ...more] = decodeAsOpener([bytes.subarray(0, cut), bytes.subarray(cut)]);
      expect(more).toEqual([]);
      expect(frame).toMatchObject(expected);
    }
    expect(encodeFrame(expected).toString('hex')).toBe(bytes.toString('hex'));
    const slow = { ...expected, offset: BigInt(fields.offset as string), payload: [...expected.payload] };
    expect(Buffer.from(referenceEncode(slow)).toString('hex')).toBe(bytes.toString('hex'));
    expect(referenceDecode(Buffer.concat([preamble(), bytes]), false, () => true).at(-1)).toEqual({
      kind: 'frame',
      frame: slow,
    });
  });

  it.each(ofKind('broken'))('%s is refused', (_, { bytes, fields }) => {
    const judged = fields.header === 'yes' ? HEADER_BYTES : bytes.length;
    expect(decodeAsOpener([bytes.subarray(0, judged - 1)])).toEqual([]);
    expect(() => decodeAsOpener([bytes.subarray(0, judged)])).toThrow('protocol violation');
    expect(referenceDecode(Buffer.concat([preamble(), bytes]), false, () => true).at(-1)).toEqual({
      kind: 'error',
    });
  });

  it.each(ofKind('preamble'))('%s is decoded and encoded to the same bytes', (_, { bytes, fields }) => {
    const decoded = decodePreamble(bytes);
    expect(decoded).toEqual({
      versionMin: Number(fields.version_min),
      versionMax: Number(fields.version_max),
      features: Number(fields.features),
      epoch: Buffer.from(fields.epoch as string, 'hex'),
      echo: Buffer.from(fields.echo as string, 'hex'),
      role: Number(fields.role),
    });
    expect(encodePreamble(decoded).toString('hex')).toBe(bytes.toString('hex'));
  });
});
