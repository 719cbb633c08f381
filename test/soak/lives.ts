/** Whole lives of sandboxes, from the command line and the library, with the faults that end some of them. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Coracle, ensureProxy } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';
import { checkout, guestEnv, killPid, MiB, type Place, type RandomFile } from '../contract/place.ts';
import { containerConfig } from '../support/config.ts';
import { checkBytes, pause } from './operations.ts';
import type { Random } from './random.ts';

export interface LifeWork {
  readonly place: Place;
  readonly random: Random;
  readonly file: RandomFile;
}

export interface Life {
  readonly name: string;
  readonly weight: number;
  readonly only?: 'local' | 'qemu';
  run(work: LifeWork): Promise<void>;
}

const bootMs = 180_000;
const sleeper = ['sh', '-c', 'echo ready; exec sleep 100000'];

export const lives: readonly Life[] = [
  {
    name: 'run',
    weight: 4,
    async run({ place, random, file }) {
      const [code, bytes, id] = [random.integer(126), random.size(2 * MiB), place.newId()];
      const bundle = place.bundle(['sh', '-c', `head -c ${bytes} /tmp/random; exit ${code}`]);
      const ended = await place.coracle(['run', '--bundle', bundle, id], { deadlineMs: bootMs });
      assert.deepEqual({ code: ended.code, stderr: ended.stderr }, { code, stderr: '' });
      checkBytes(Buffer.from(ended.stdout, 'latin1'), file.bytes.subarray(0, bytes));
      gone(place, id);
    },
  },
  {
    name: 'create, start, exec, kill, delete',
    weight: 3,
    async run({ place, random }) {
      const id = place.newId();
      const command = async (...args: string[]) => await place.coracle(args, { deadlineMs: bootMs });
      const ok = { code: 0, stderr: '' };
      const said = ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr });
      const bundle = place.bundle(['sleep', '100000']);
      assert.deepEqual(said(await command('create', '--bundle', bundle, id)), ok);
      assert.deepEqual(said(await command('start', id)), ok);
      const n = random.integer(1e6);
      assert.deepEqual(await command('exec', id, 'echo', String(n)), { ...ok, stdout: `${n}\n` });
      assert.deepEqual(said(await command('kill', id, 'KILL')), ok);
      assert.deepEqual(said(await command('delete', '--force', id)), ok);
      gone(place, id);
    },
  },
  {
    name: 'shim killed',
    weight: 2,
    async run({ place }) {
      const id = place.newId();
      const run = place.start(['run', '--bundle', place.bundle(sleeper), id]);
      await run.says('ready', bootMs);
      killPid(place.files(id).shim!.pid, 'SIGKILL');
      assert.equal(await run.ended(), 137);
      gone(place, id);
    },
  },
  {
    name: 'VM killed',
    weight: 2,
    async run({ place }) {
      const id = place.newId();
      const run = place.start(['run', '--bundle', place.bundle(sleeper), id]);
      await run.says('ready', bootMs);
      killPid(place.vmPid(id), 'SIGKILL');
      assert.equal(await run.ended(), 255);
      gone(place, id);
    },
  },
  {
    name: 'coracle run killed',
    weight: 2,
    async run({ place, random }) {
      const id = place.newId();
      const run = place.start(['run', '--bundle', place.bundle(sleeper), id]);
      run.child.stdout!.resume();
      await pause(random.integer(place.driver === 'local' ? 800 : 6000));
      killPid(run.pid, 'SIGKILL');
      await run.ended();
      const { code, stderr } = await place.coracle(['delete', '--force', id]);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
      gone(place, id);
    },
  },
  {
    name: 'library sandbox',
    weight: 3,
    only: 'local',
    async run({ place, random, file }) {
      const bytes = random.size(MiB);
      const coracle = libraryOf(place);
      const sandbox = await coracle.startSandbox({
        vm: createLocalDriver({ agentEntry: join(checkout, 'dist/agent/agent.js') }),
        shares: [{ tag: 'host', binds: [{ name: 'rootfs', source: place.rootfs }] }],
      });
      try {
        const config = containerConfig(['sleep', '100000']);
        const rootfs = { share: 'host', path: 'rootfs' };
        const container = await sandbox.createContainer({ id: 'one', config, rootfs });
        await container.start();
        const args = ['head', '-c', String(bytes), '/tmp/random'];
        const { stdout, result } = await (await container.exec({ args, env: guestEnv })).output();
        checkBytes(stdout, file.bytes.subarray(0, bytes));
        assert.equal(result.code, 0);
      } finally {
        await sandbox.destroy({ force: random.chance(0.5) });
      }
    },
  },
];

export function libraryOf(place: Place): Coracle {
  const socketPath = join(place.runFolder, 'proxy.sock');
  const sandboxes = join(place.runFolder, 'sandboxes');
  const program = join(checkout, 'bin/coracle-proxy');
  const command = [program, '--socket', socketPath, '--sandboxes', sandboxes];
  const startProxy = () => ensureProxy({ socketPath, command });
  return new Coracle({ proxy: socketPath, sandboxes, startProxy });
}

function gone(place: Place, id: string): void {
  assert.ok(!existsSync(join(place.root, id)), `the state of ${id} is still there`);
}
