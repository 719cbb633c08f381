/** Containers that are killed at every moment of their start, one after the other, in one VM. */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRpcError } from '@coracle/client';
import { describe, expect, test } from 'vitest';
import { containerConfig } from '../support/config.ts';
import { inBatches } from './exits.ts';
import { guestEnv, type SharedContainer } from './place.ts';

/** Of removals, four at a time. */
const ROUNDS = 40;

export function killsSuite(shared: () => SharedContainer): void {
  describe('containers removed by force while they and their execs start', () => {
    // Each container was the last user of its root file system's mount, and the guest's kernel met a bug of its own
    // when such a mount ended while releases of files were under way: "Busy inodes after unmount", and no exec more.
    test('leave a VM that goes on', { timeout: 240_000 }, async () => {
      const { place, container, sandbox } = shared();
      await inBatches(Array.from({ length: ROUNDS }), 4, async () => {
        const victim = await sandbox.createContainer({
          id: randomUUID(),
          config: containerConfig(['yes']),
          // As `coracle` names its share; without a VM a path is the host's.
          rootfs: { share: 'containers', path: place.driver === 'local' ? place.rootfs : 'rootfs' },
        });
        await victim.start();
        const execs = [0, 1].map(() =>
          victim.exec({ args: ['yes'], env: guestEnv }).catch((error: unknown) => {
            // The container was quicker to go.
            if (!isRpcError(error)) throw error;
          }),
        );
        await Promise.race([...execs, new Promise((resolve) => setImmediate(resolve))]);
        await victim.remove({ force: true });
        await Promise.all(execs);
      });
      const process = await container.exec({ args: ['echo', 'well'], env: guestEnv });
      expect(String((await process.output()).stdout)).toBe('well\n');
      const console = join(place.files(shared().id).sandboxDirectory, 'console.log');
      const said = existsSync(console) ? readFileSync(console, 'latin1') : '';
      expect(said.split('\n').filter((line) => /BUG|Busy inodes|Oops/.test(line))).toEqual([]);
    });
  });
}
