/** Bytes arrive whole and once, however the reader behaves and however fast the process ends. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { inBatches } from './exits.ts';
import {
  coracleProgram,
  type DriverName,
  guestEnv,
  MiB,
  RandomFile,
  run,
  type SharedContainer,
  sha256,
  within,
} from './place.ts';

/** How much is moved and how often; an emulated guest gets less. */
export interface Amounts {
  readonly bytes: number;
  /** Through the proxy that is killed meanwhile. */
  readonly lossBytes: number;
  readonly lines: number;
  readonly countingRounds: number;
  readonly copyingRounds: number;
  readonly commandRounds: number;
  readonly atOnce: number;
  /** What a command may take to end when its VM has; 10 s unless given. */
  readonly promptMs?: number;
}

// A terminal takes 10,000 to 40,000 lines a second in an emulated guest, so there it is asked fewer times.
export const amountsOf: Readonly<Record<DriverName, Amounts>> = {
  local: {
    bytes: 64 * MiB,
    lossBytes: 32 * MiB,
    lines: 200_000,
    countingRounds: 50,
    copyingRounds: 50,
    commandRounds: 5,
    atOnce: 5,
  },
  qemu: {
    bytes: 64 * MiB,
    lossBytes: 32 * MiB,
    lines: 200_000,
    countingRounds: 2,
    copyingRounds: 50,
    commandRounds: 5,
    atOnce: 1,
  },
};

export function bytesSuite(shared: () => SharedContainer, amounts: Amounts): void {
  const SIZE = amounts.bytes;
  const size = `${SIZE / MiB} MiB`;
  describe('bytes', () => {
    let random: RandomFile;
    beforeAll(() => {
      random = new RandomFile(shared().place, SIZE);
    });

    /** Another process starts, runs and ends: the stream that is not read has filled up by then. */
    const anotherRuns = async (): Promise<void> => {
      const other = await shared().container.exec({ args: ['true'], env: guestEnv });
      expect(await other.wait()).toMatchObject({ cause: 'exited', exitCode: 0 });
    };

    const sumOf = async (stream: Readable, pauses: boolean): Promise<string> => {
      const sum = sha256();
      let [total, nextPause] = [0, SIZE / 4];
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        sum.update(chunk);
        total += chunk.length;
        if (!pauses || total < nextPause) continue;
        nextPause += SIZE / 4;
        await anotherRuns();
      }
      expect(total).toBe(SIZE);
      return sum.digest('hex');
    };

    test.each([
      ['a reader that reads', false],
      ['a reader that pauses', true],
    ])(`${size} out of stdout of the library, to %s`, async (_, pauses) => {
      const cat = await shared().container.exec({ args: ['cat', '/tmp/random'], env: guestEnv });
      expect(await sumOf(cat.stdout, pauses)).toBe(random.sha256);
      expect(await cat.wait()).toMatchObject({ exitCode: 0 });
    });

    test.each([
      ['a reader that reads', false],
      ['a reader that pauses', true],
    ])(`${size} out of stdout of the command line, to %s`, async (_, pauses) => {
      const cat = shared().startExec(['cat', '/tmp/random']);
      expect(await sumOf(cat.child.stdout!, pauses)).toBe(random.sha256);
      expect({ code: await cat.ended(), stderr: cat.stderr }).toEqual({ code: 0, stderr: '' });
    });

    test.each([
      ['all at once', false],
      ['with pauses', true],
    ])(`${size} through stdin of the library, %s`, async (_, pauses) => {
      const sum = await shared().container.exec({ args: ['sha256sum'], stdin: true, env: guestEnv });
      const output = sum.output();
      const pieces = async function* () {
        for (let at = 0; at < SIZE; at += SIZE / 4) {
          yield random.bytes.subarray(at, at + SIZE / 4);
          if (pauses) await anotherRuns();
        }
      };
      await pipeline(pieces, sum.stdin);
      expect(String((await output).stdout)).toBe(`${random.sha256}  -\n`);
    });

    test.each([
      ['all at once', false],
      ['with pauses', true],
    ])(`${size} through stdin of the command line, %s`, async (_, pauses) => {
      const sum = shared().startExec(['sha256sum'], { stdin: 'open' });
      const { stdin } = sum.child;
      for (let at = 0; at < SIZE; at += SIZE / 4) {
        if (!stdin!.write(random.bytes.subarray(at, at + SIZE / 4))) {
          await within(once(stdin!, 'drain'), 60_000, 'stdin is taken');
        }
        if (pauses) await anotherRuns();
      }
      stdin!.end();
      await sum.says(random.sha256);
      expect(await sum.ended()).toBe(0);
    });

    test(`${size} through pipes and files, as a shell makes them`, async () => {
      const { place, id } = shared();
      const { env, folder } = place;
      const script = `
        "$@" cat < "$RANDOM_FILE" | cat > "$OUT"
        "$@" cat /tmp/random > "$OUT.direct"
        cat "$RANDOM_FILE" | "$@" sha256sum | cat`;
      const out = `${folder}/out`;
      const ended = await run(
        '/bin/sh',
        ['-ec', script, 'sh', coracleProgram, ...place.arguments(['exec', id])],
        { env: { ...env, RANDOM_FILE: random.path, OUT: out }, deadlineMs: 180_000 },
      );
      expect(ended).toEqual({ code: 0, stdout: `${random.sha256}  -\n`, stderr: '' });
      for (const path of [out, `${out}.direct`])
        expect(sha256().update(readFileSync(path)).digest('hex')).toBe(random.sha256);
    });

    const lines = Array.from({ length: amounts.lines }, (_, n) => `${n + 1}\n`).join('');
    const linesSum = sha256().update(lines).digest('hex');

    const { atOnce } = amounts;
    const counting = { command: `seq 1 ${amounts.lines}`, lines, rounds: amounts.countingRounds, atOnce };
    // cat has the first of them at hand, and is gone the sooner.
    const copying = {
      command: 'cat /tmp/lines',
      lines: lines.slice(0, 200_000),
      rounds: amounts.copyingRounds,
      atOnce,
    };
    test.each([
      { where: 'pipes', terminal: false, ...counting },
      { where: 'pipes', terminal: false, ...copying },
      { where: 'a terminal', terminal: true, ...counting },
      { where: 'a terminal', terminal: true, ...copying },
    ])(
      '$rounds of $rounds times the output of $command is whole on $where',
      async ({ terminal, lines: written, command, rounds, atOnce }) => {
        writeFileSync(join(shared().place.rootfs, 'tmp/lines'), written);
        const shown = terminal ? written.replaceAll('\n', '\r\n') : written;
        const want = sha256().update(shown).digest('hex');
        const round = async () => {
          const process = await shared().container.exec({
            args: command.split(' '),
            terminal,
            env: guestEnv,
          });
          const { stdout, result } = await process.output();
          expect({ sum: sha256().update(stdout).digest('hex'), code: result.code }).toEqual({
            sum: want,
            code: 0,
          });
        };
        await inBatches(Array.from({ length: rounds }), atOnce, round);
      },
    );

    test(`seq 1 ${amounts.lines} is whole through the command line`, async () => {
      for (let round = 0; round < amounts.commandRounds; round++) {
        const { code, stdout } = await shared().exec(['seq', '1', String(amounts.lines)]);
        const sum = sha256().update(stdout).digest('hex');
        expect({ round, sum, code }).toEqual({ round, sum: linesSum, code: 0 });
      }
    });
  });
}
