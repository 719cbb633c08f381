/** What happens to the long-lived sandbox in the second phase. Every operation must go on as if it had not. */
import { fileURLToPath } from 'node:url';
import { killPid, Running } from '../contract/place.ts';
import { readProc } from '../support/processes.ts';
import { proxyPid } from './observe.ts';
import { pause } from './operations.ts';
import type { Random } from './random.ts';
import type { Tenant } from './tenant.ts';

export interface Fault {
  readonly name: string;
  readonly weight: number;
  /** @returns whether there was something to do it to */
  run(tenant: Tenant, random: Random): Promise<boolean>;
}

const victim = fileURLToPath(new URL('victim.ts', import.meta.url));

export const faults: readonly Fault[] = [
  {
    name: 'proxy killed',
    weight: 4,
    run: async ({ shared }) => (await shared.place.killProxy()) > 0,
  },
  {
    name: 'proxy stopped for a moment',
    weight: 2,
    async run({ shared }, random) {
      const pid = proxyPid(shared.place);
      if (pid === undefined) return false;
      killPid(pid, 'SIGSTOP');
      await pause(random.integer(1500));
      killPid(pid, 'SIGCONT');
      return true;
    },
  },
  {
    name: 'library client killed',
    weight: 2,
    async run(tenant, random) {
      const { place, id } = tenant.shared;
      const { proxySocket, sandboxDirectory, sandboxId } = place.files(id);
      const container = await tenant.createContainer(['sleep', '100000'], { attach: false });
      await container.start();
      const sandboxes = sandboxDirectory.slice(0, -sandboxId.length - 1);
      const args = [victim, proxySocket, sandboxes, sandboxId, container.id];
      // It has no way to start a proxy: it may find none, which ends it too.
      const running = new Running(process.execPath, args, { env: place.env });
      const ready = running.says('ready').then(
        () => true,
        () => false,
      );
      const wasReady = await ready;
      running.child.stdout!.resume();
      if (wasReady) await pause(random.integer(1000));
      killPid(running.pid, 'SIGKILL');
      await running.ended();
      await container.remove({ force: true });
      return wasReady;
    },
  },
  {
    name: 'shim of an exec killed',
    weight: 2,
    async run({ shared }) {
      const running = shared.startExec(['sh', '-c', 'echo ready; exec sleep 2']);
      await running.says('ready');
      const shim = shared.place
        .processes()
        .map((line) => Number(line.split(' ')[0]))
        .find((pid) => parentOf(pid) === running.pid);
      if (shim !== undefined) killPid(shim, 'SIGKILL');
      await running.ended();
      return shim !== undefined;
    },
  },
];

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readProc(pid, 'status'))?.[1] ?? 0);
}
