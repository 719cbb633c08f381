/** Corner cases of recovery: requests in flight, a shim that sleeps through it, a VM that is paused for long. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Qmp } from '@coracle/vm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type DriverName,
  guestEnv,
  killPid,
  MiB,
  Place,
  RandomFile,
  SharedContainer,
  sha256,
  until,
  within,
} from '../contract/place.ts';

/** Longer than any time-out that somebody might add by mistake. */
const PAUSE_MS = Number(process.env.FAULT_PAUSE_MS ?? 20_000);

export function recoverySuite(driver: DriverName): void {
  describe('recovery', () => {
    let place: Place;
    let shared: SharedContainer;
    beforeAll(async () => {
      place = new Place(driver);
      shared = await SharedContainer.start(place);
    });
    afterAll(async () => {
      await shared[Symbol.asyncDispose]();
      await place[Symbol.asyncDispose]();
    });

    test('a request in flight when the proxy is killed takes effect once', { timeout: 240_000 }, async () => {
      const rounds = driver === 'local' ? 20 : 10;
      const file = join(place.rootfs, 'tmp/lines');
      rmSync(file, { force: true });
      for (let round = 0; round < rounds; round++) {
        const exec = shared.container.exec({
          args: ['sh', '-c', `echo ${round} >> /tmp/lines`],
          env: guestEnv,
        });
        // Some before it is sent, some while it runs, some before the answer.
        await delay(((round % 10) / 10) * (driver === 'local' ? 30 : 150));
        await place.killProxy();
        const started = await within(exec, 60_000, 'exec is answered');
        expect((await within(started.wait(), 60_000, 'it ends')).code).toBe(0);
      }
      const lines = readFileSync(file, 'utf8').trim().split('\n');
      expect(lines).toEqual(Array.from({ length: rounds }, (_, round) => String(round)));
    });

    test('a shim stopped with its queue full, the proxy killed meanwhile, goes on without a loss', {
      timeout: 120_000,
    }, async () => {
      const random = new RandomFile(place, 16 * MiB);
      const pidFile = join(place.folder, 'stopped.pid');
      const args = ['exec', '--pid-file', pidFile, shared.id, 'cat', '/tmp/random'];
      const cat = place.start(args, { stdin: 'null' });
      // Nobody reads stdout yet: its pipe, the shim's ring and the window fill.
      await until(() => existsSync(pidFile), 'the shim has a pid');
      const pid = Number(readFileSync(pidFile, 'utf8'));
      killPid(pid, 'SIGSTOP');
      await place.killProxy();
      // Somebody else starts the next one.
      expect((await shared.exec(['true'])).code).toBe(0);
      killPid(pid, 'SIGCONT');
      const sum = sha256();
      let total = 0;
      for await (const chunk of cat.child.stdout! as AsyncIterable<Buffer>) {
        sum.update(chunk);
        total += chunk.length;
      }
      expect({ total, sum: sum.digest('hex') }).toEqual({ total: 16 * MiB, sum: random.sha256 });
      expect(await cat.ended()).toBe(0);
    });

    if (driver === 'qemu')
      test('a VM that is paused for long is silent and healthy, also for clients that come meanwhile', {
        timeout: PAUSE_MS + 120_000,
      }, async () => {
        const waiting = shared.startExec(['sh', '-c', 'read line; echo got $line; exit 7'], {
          stdin: 'open',
        });
        const qmp = join(place.files(shared.id).sandboxDirectory, 'qmp.sock');
        const say = async (command: 'stop' | 'cont') => {
          using connection = await Qmp.connect(qmp);
          await connection[command]();
        };
        await say('stop');
        waiting.child.stdin!.write('hello\n');
        const details = shared.sandbox.details();
        // The next proxy has to greet an agent that does not answer.
        await place.killProxy();
        const late = shared.exec(['echo', 'late'], { deadlineMs: PAUSE_MS + 60_000 });
        await delay(PAUSE_MS);
        await say('cont');
        await waiting.says('got hello');
        expect(await waiting.ended()).toBe(7);
        expect((await within(details, 60_000, 'details are answered')).sandboxId).not.toBe('');
        expect(await late).toMatchObject({ code: 0, stdout: 'late\n' });
      });
  });
}
