/** Whatever dies under a container: it goes on where it can, and ends at once and with a word where it cannot. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Amounts } from './bytes.ts';
import { inBatches } from './exits.ts';
import {
  type DriverName,
  guestEnv,
  killPid,
  type Place,
  RandomFile,
  type SharedContainer,
  sha256,
  until,
  within,
} from './place.ts';

const bootMs = 120_000;

export function proxyLossSuite(shared: () => SharedContainer, { lossBytes: size }: Amounts): void {
  describe('a killed proxy', () => {
    test('loses and doubles nothing, both ways, by command line and library', async () => {
      const { place, container } = shared();
      const random = new RandomFile(place, size);
      const cat = shared().startExec(['cat'], { stdin: 'open' });
      const inLibrary = await container.exec({ args: ['cat', '/tmp/random'], env: guestEnv });

      let kills = 0;
      const sums = [cat.child.stdout!, inLibrary.stdout].map(async (stream, which) => {
        const sum = sha256();
        let [total, nextKill] = [0, size / 8];
        for await (const chunk of stream as AsyncIterable<Buffer>) {
          sum.update(chunk);
          total += chunk.length;
          if (which === 1 || total < nextKill) continue;
          nextKill += size / 4;
          kills += await place.killProxy();
        }
        return { total, sum: sum.digest('hex') };
      });
      const feed = async () => {
        for (let at = 0; at < size; at += size / 32) {
          if (!cat.child.stdin!.write(random.bytes.subarray(at, at + size / 32)))
            await within(once(cat.child.stdin!, 'drain'), 60_000, 'stdin is taken');
        }
        cat.child.stdin!.end();
      };
      await feed();
      const want = { total: size, sum: random.sha256 };
      expect(await within(Promise.all(sums), 120_000, 'both streams end')).toEqual([want, want]);
      expect({ code: await cat.ended(), stderr: cat.stderr }).toEqual({ code: 0, stderr: '' });
      expect((await inLibrary.wait()).code).toBe(0);
      expect(kills).toBeGreaterThanOrEqual(3);
    });

    test('does not disturb who waits for an exit code or sends a signal', async () => {
      const waiting = shared().startExec([
        'sh',
        '-c',
        'trap "exit 6" TERM; echo ready; while :; do sleep 0.05; done',
      ]);
      await waiting.says('ready');
      await shared().place.killProxy();
      killPid(waiting.pid, 'SIGTERM');
      expect({ code: await waiting.ended(), stderr: waiting.stderr }).toEqual({ code: 6, stderr: '' });
    });
  });
}

const running = async (place: () => Place, script = 'echo ready; exec sleep 100000') => {
  const id = place().newId();
  const run = place().start(['run', '--bundle', place().bundle(['sh', '-c', script]), id]);
  await run.says('ready', bootMs);
  return { id, run };
};

/** @param promptMs what "at once" may take: no time-out is waited for, but several programs start and end */
export function killedVmSuite(place: () => Place, promptMs = 10_000): void {
  describe('a killed virtual machine', () => {
    test('ends run at once, with 255 and a message, and leaves nothing', async () => {
      const { id, run } = await running(place);
      const exec = place().start(['exec', id, 'sh', '-c', 'echo ready; exec sleep 1000']);
      await exec.says('ready');
      killPid(place().vmPid(id), 'SIGKILL');
      const codes = [await run.ended(promptMs), await exec.ended(promptMs)];
      expect(codes).toEqual([255, 255]);
      expect(run.stderr).toMatch(/^coracle: container c\d+: the (VM|virtual machine) is gone/m);
      expect(exec.stderr).toMatch(/^coracle: .*the (VM|virtual machine) is gone/m);
      if (place().driver === 'local') place().killStrays();
      await place().expectNothingLeft();
    });

    test('shows what was written before', async () => {
      const { id, run } = await running(place, 'seq 1 1000; echo ready; exec sleep 100000');
      killPid(place().vmPid(id), 'SIGKILL');
      expect(await run.ended(promptMs)).toBe(255);
      if (place().driver === 'local') place().killStrays();
      await place().expectNothingLeft();
    });
  });
}

export function vmLossSuite(place: () => Place, driver: DriverName): void {
  killedVmSuite(place);

  // The local driver's agent is what its record names as the VM: the test above.
  if (driver === 'qemu')
    describe('an agent that dies in its VM', () => {
      test('ends run at once, with 255 and a message, and leaves nothing', async () => {
        const id = place().newId();
        // What handles a core dump runs in the guest itself, with all rights: here it switches the machine off. (Our own
        // kernel has no SysRq to crash it by.)
        const handler = '|/usr/bin/busybox poweroff -f';
        const script = `mount -t proc proc /tmp; echo ready; read line; echo '${handler}' > /tmp/sys/kernel/core_pattern; sh -c 'kill -SEGV $$'; sleep 1000`;
        const bundle = place().bundle(['sh', '-c', script], (config) => {
          const all = ['CAP_SYS_ADMIN', 'CAP_DAC_OVERRIDE'];
          config.process.capabilities = { bounding: all, effective: all, permitted: all };
        });
        const run = place().start(['run', '--bundle', bundle, id], { stdin: 'open' });
        await run.says('ready', bootMs);
        run.child.stdin!.write('go\n');
        expect({ code: await run.ended(10_000), stderr: run.stderr }).toMatchObject({ code: 255 });
        expect(run.stderr).toMatch(/^coracle: container c\d+: the (VM|virtual machine) is gone/m);
        await place().expectNothingLeft();
      });
    });

  describe('a killed shim', () => {
    test('ends run; the container is removed', async () => {
      const { id, run } = await running(place);
      killPid(place().files(id).shim!.pid, 'SIGKILL');
      expect(await run.ended(20_000)).toBe(137);
      await place().expectNothingLeft();
    });

    test('of a detached container leaves what delete --force removes', async () => {
      const id = place().newId();
      const bundle = place().bundle(['sleep', '100000']);
      expect(
        (await place().coracle(['run', '-d', '--bundle', bundle, id], { deadlineMs: bootMs })).code,
      ).toBe(0);
      const { shim } = place().files(id);
      killPid(shim!.pid, 'SIGKILL');
      await until(() => !existsSync(`/proc/${shim!.pid}`), 'the shim is gone');
      expect(await place().coracle(['delete', '--force', id])).toMatchObject({ code: 0, stderr: '' });
      await place().expectNothingLeft();
    });
  });

  describe('coracle run', () => {
    test('killed while its container runs, leaves what delete --force removes', async () => {
      const { id, run } = await running(place);
      killPid(run.pid, 'SIGKILL');
      expect(await run.ended()).toBe(137);
      expect(await place().coracle(['delete', '--force', id])).toMatchObject({ code: 0, stderr: '' });
      await place().expectNothingLeft();
    });

    test('killed at any moment of the start, leaves what delete --force or gc removes', {
      timeout: 240_000,
    }, async () => {
      const rounds = place().driver === 'local' ? 8 : 4;
      const startMs = await startTime(place());
      for (let round = 0; round < rounds; round++) {
        const afterMs = ((round + Math.random()) / rounds) * startMs;
        const id = place().newId();
        await endAfter(place(), id, 'SIGKILL', afterMs);
        // A container that had started outlives its `run`: its process is ended as a user would.
        const remove = round % 2 === 0 ? ['delete', '--force', id] : ['gc'];
        const removed = await place().coracle(remove);
        expect({ afterMs, ...removed }).toMatchObject({ code: 0, stderr: '' });
        await place().coracle(['delete', '--force', id]);
        await place()
          .expectNothingLeft()
          .catch((error: Error) => {
            throw new Error(
              `kill -9 after ${afterMs} ms, then ${remove.join(' ')} (${removed.stdout}): ${error.message}`,
            );
          });
      }
    });

    test('interrupted at any moment of the start, leaves nothing', { timeout: 240_000 }, async () => {
      const rounds = 10;
      const startMs = await startTime(place());
      await inBatches(
        Array.from({ length: rounds }, (_, n) => n),
        1,
        async (round) => {
          const afterMs = ((round + Math.random()) / rounds) * startMs;
          const name = round % 2 === 0 ? 'SIGINT' : 'SIGTERM';
          const ended = await endAfter(place(), place().newId(), name, afterMs);
          expect({ name, afterMs, ...ended }).toMatchObject({ code: name === 'SIGINT' ? 130 : 143 });
          await place()
            .expectNothingLeft()
            .catch((error: Error) => {
              throw new Error(`${name} after ${afterMs} ms: ${error.message}; stderr ${ended.stderr}`);
            });
        },
      );
    });
  });
}

const dying = [
  'sh',
  '-c',
  'trap "exit 130" INT; trap "exit 143" TERM; echo ready; while :; do sleep 0.05; done',
];

/** How long it takes here from the command to the first output. */
async function startTime(place: Place): Promise<number> {
  const startedAt = performance.now();
  const run = place.start(['run', '--bundle', place.bundle(dying), place.newId()]);
  await run.says('ready', bootMs);
  const startMs = performance.now() - startedAt;
  killPid(run.pid, 'SIGTERM');
  expect(await run.ended()).toBe(143);
  return startMs;
}

/** The moment is what is tested, so here time itself is waited for. */
async function endAfter(place: Place, id: string, name: NodeJS.Signals, afterMs: number) {
  const run = place.start(['run', '--bundle', place.bundle(dying), id]);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  killPid(run.pid, name);
  // Between its start and its traps pid 1 of a container hears nothing, with any runtime: once more then.
  void run.says('ready', bootMs).then(
    () => killPid(run.pid, name),
    () => undefined,
  );
  return { code: await run.ended(bootMs), stderr: run.stderr };
}
