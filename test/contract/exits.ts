/** Every exit code and every death by signal is reported as runc reports it. */
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { guestEnv, killPid, type Place, Running, type SharedContainer, until } from './place.ts';

/** Stopped by these, a process does not end. */
const stopping = new Set([
  constants.signals.SIGSTOP,
  constants.signals.SIGTSTP,
  constants.signals.SIGTTIN,
  constants.signals.SIGTTOU,
]);
/**
 * 32 and 33 are the C library's own (signal(7)): no program gets them by its interface, and Node ignores 32 in
 * what it starts, which runc hands on to the container.
 */
const librarys = new Set([32, 33]);
const allSignals = Array.from({ length: 64 }, (_, n) => n + 1).filter(
  (number) => !stopping.has(number) && !librarys.has(number),
);

export function exitsSuite(shared: () => SharedContainer): void {
  describe('the end of a process', () => {
    test('exit codes 0 to 255, by the library', async () => {
      const codes = Array.from({ length: 256 }, (_, code) => code);
      expect(
        await inBatches(codes, 16, async (code) => {
          const { exitCode } = await endOf(shared(), `exit ${code}`);
          return exitCode;
        }),
      ).toEqual(codes);
    });

    test('exit codes by the command line', async () => {
      const local = shared().place.driver === 'local';
      const codes = local
        ? Array.from({ length: 256 }, (_, code) => code)
        : [0, 1, 2, 125, 126, 127, 128, 129, 137, 143, 254, 255];
      const ends = await inBatches(codes, 4, (code) => shared().exec(['sh', '-c', `exit ${code}`]));
      expect(ends).toEqual(codes.map((code) => ({ code, stdout: '', stderr: '' })));
    });

    test('death by every signal, by the library', async () => {
      const ends = await inBatches(allSignals, 16, (number) => endOf(shared(), dieOf(number)));
      const oracle = await runcDeaths(shared().place, allSignals);
      expect(ends.map(({ code }) => code)).toEqual(oracle.map(({ code }) => code));
      for (const [at, number] of allSignals.entries()) {
        const { code, cause } = ends[at]!;
        expect({ number, cause }).toEqual({ number, cause: code === 0 ? 'exited' : 'signalled' });
      }
    });

    test('death by signals, by the command line', async () => {
      const { place } = shared();
      // HUP, INT, ABRT, KILL, PIPE, TERM, CHLD, real-time: in a VM the library has them all.
      const signals = place.driver === 'local' ? allSignals : [1, 2, 6, 9, 13, 15, 17, 34, 64];
      const ends = await inBatches(signals, 4, (number) => shared().exec(['sh', '-c', dieOf(number)]));
      expect(ends).toEqual(await runcDeaths(place, signals));
    });

    test('by a signal from outside, which the command line hands on', async () => {
      const names = [
        'SIGHUP',
        'SIGINT',
        'SIGQUIT',
        'SIGUSR1',
        'SIGUSR2',
        'SIGALRM',
        'SIGTERM',
        'SIGXCPU',
        'SIGIO',
      ] as const;
      await withRunc(shared().place, async (runcId) => {
        const { place } = shared();
        await inBatches(names, 3, async (name) => {
          const program = ['sh', '-c', 'ulimit -c 0; echo ready; exec sleep 1000'];
          const ours = shared().startExec(program);
          const theirs = new Running('/usr/sbin/runc', place.runcArguments(['exec', runcId, ...program]), {
            env: place.env,
          });
          const codes = [];
          for (const running of [ours, theirs]) {
            await running.says('ready');
            killPid(running.pid, name);
            codes.push(await running.ended());
          }
          const code = 128 + constants.signals[name];
          expect({ name, codes, stderr: ours.stderr }).toEqual({ name, codes: [code, code], stderr: '' });
        });
      });
    });

    test('by coracle kill', async () => {
      const { place } = shared();
      if (place.driver === 'qemu') return killedRun(place, 'KILL');
      for (const signal of ['KILL', '9', 'SIGTERM', '34']) await killedRun(place, signal);
    });
  });
}

/** `run` in the foreground; what pid 1 does not handle the kernel ignores, but for SIGKILL from outside. */
async function killedRun(place: Place, signal: string): Promise<void> {
  const id = place.newId();
  const script = `trap 'exit 9' TERM 34; echo ready; while :; do sleep 0.05; done`;
  const running = place.start(['run', '--bundle', place.bundle(['sh', '-c', script]), id]);
  await running.says('ready', 120_000);
  expect(await place.coracle(['kill', id, signal])).toMatchObject({ code: 0, stderr: '' });
  expect({ signal, code: await running.ended() }).toEqual({ signal, code: /9|KILL/.test(signal) ? 137 : 9 });
  // The whole name: another one's sandbox may begin with it.
  const named = new RegExp(`/${id}(?![\\w-])`);
  await until(() => !place.left().some((line) => named.test(line)), `nothing is left of ${id}`);
}

const dieOf = (number: number): string => `ulimit -c 0; kill -${number} $$`;

async function endOf({ container }: SharedContainer, script: string) {
  const process = await container.exec({ args: ['sh', '-c', script], env: guestEnv });
  return (await process.output()).result;
}

async function runcDeaths(place: Place, signals: readonly number[]) {
  return await withRunc(place, (id) =>
    inBatches(signals, 4, (number) => place.runc(['exec', id, 'sh', '-c', dieOf(number)])),
  );
}

/** A container by runc, as the oracle. */
export async function withRunc<T>(place: Place, use: (id: string) => Promise<T>): Promise<T> {
  const id = place.newId();
  const ended = await place.runc(['run', '-d', '--bundle', place.bundle(['sleep', '100000']), id]);
  if (ended.code !== 0) throw new Error(`runc: ${ended.stderr}`);
  try {
    return await use(id);
  } finally {
    await place.runc(['delete', '--force', id]);
  }
}

/** `atOnce` of them at a time, so that a guest of one or two CPUs is busy and not drowned. */
export async function inBatches<T, R>(
  items: readonly T[],
  atOnce: number,
  run: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await run(items[at]!);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}
