import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NAME_LIMITS } from '../limits.ts';
import { Queries } from './queries.ts';
import { encodeRecord, Kind, type NameRecord, RecordDecoder } from './records.ts';

const message = (id: number, length = 12): Buffer => {
  const bytes = Buffer.alloc(length, 7);
  bytes.writeUInt16BE(id);
  return bytes;
};

describe('records', () => {
  const records: NameRecord[] = [
    { number: 0, kind: Kind.udp, message: message(1) },
    { number: 65_535, kind: Kind.tcp, message: message(2, 300) },
    { number: 7, kind: Kind.udp, message: message(3, 65_535) },
  ];
  const bytes = Buffer.concat(records.map(encodeRecord));

  it('are what they were, however they are cut', () => {
    for (const size of [1, 5, 6, 7, 18, 4096, bytes.length]) {
      const decoder = new RecordDecoder();
      const read: NameRecord[] = [];
      for (let at = 0; at < bytes.length; at += size)
        read.push(...decoder.push(bytes.subarray(at, at + size)));
      expect(read).toEqual(records);
    }
  });

  it.each([
    ['too short a message', '000b 0000 00 00'],
    ['a kind that there is not', '000c 0000 02 00'],
    ['a byte that is to be 0', '000c 0000 00 01'],
  ])('%s is none', (_, hex) => {
    const decoder = new RecordDecoder();
    expect(() => [...decoder.push(Buffer.from(hex.replaceAll(' ', ''), 'hex'))]).toThrow(/no record/);
  });
});

describe('queries', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function asked() {
    const sent: NameRecord[] = [];
    const queries = new Queries((record) => sent.push(record) > 0);
    const got: (Buffer | undefined)[] = [];
    const ask = (id: number) => queries.ask(Kind.udp, message(id), (answer) => got.push(answer));
    return { sent, queries, got, ask };
  }

  it('get the answer of their number and id, once', () => {
    const { sent, queries, got, ask } = asked();
    expect([ask(1), ask(2)]).toEqual([true, true]);
    const [first, second] = sent as [NameRecord, NameRecord];
    queries.answer({ ...first, message: message(2) });
    queries.answer({ ...second, number: 999 });
    expect(got).toEqual([]);
    queries.answer({ ...second, message: message(2, 40) });
    queries.answer({ ...second, message: message(2, 40) });
    expect(got).toEqual([message(2, 40)]);
  });

  it('are forgotten after their time, and no more wait than may', () => {
    const { sent, queries, got, ask } = asked();
    for (let id = 0; id < NAME_LIMITS.maxQueries; id++) expect(ask(id)).toBe(true);
    expect(ask(999)).toBe(false);
    vi.advanceTimersByTime(NAME_LIMITS.answerMs);
    expect(got).toEqual(Array.from({ length: NAME_LIMITS.maxQueries }, () => undefined));
    expect(ask(999)).toBe(true);
    // Too late, and not the answer of whoever is first now.
    queries.answer(sent[0]!);
    expect(got).toHaveLength(NAME_LIMITS.maxQueries);
    queries.dispose();
    expect(got).toHaveLength(NAME_LIMITS.maxQueries + 1);
  });

  it('that are none, or for which there is no room, are not taken', () => {
    const queries = new Queries(() => false);
    const done = vi.fn();
    expect(queries.ask(Kind.udp, message(1), done)).toBe(false);
    expect(asked().queries.ask(Kind.udp, Buffer.alloc(11), done)).toBe(false);
    expect(done).not.toHaveBeenCalled();
  });
});
