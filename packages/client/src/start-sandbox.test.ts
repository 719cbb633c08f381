import { RpcError } from '@coracle/wire';
import { expect, test } from 'vitest';
import { whileVmRuns } from './start-sandbox.ts';
import type { VmLike } from './vm.ts';

const bootFailure = (_directory: string, what: string) => new Error(`console of: ${what}`);
const lost = new RpcError('not_found', 'it has no link.sock');

/** Runs until `ended`, or until nobody waits. */
function vm(ended?: Promise<void>): VmLike {
  return {
    stop: async () => {},
    waitExit: async ({ signal } = {}) => {
      const given = new Promise((_, reject) =>
        signal?.addEventListener('abort', () => reject(signal.reason)),
      );
      return await Promise.race([ended ?? given, given]);
    },
  } as VmLike;
}

// QEMU removes its sockets when the guest has powered off, and ends a moment later: the proxy's "there is no sandbox"
// came first, and the reason on the console was lost.
test('a link that goes just before its VM does not hide why the VM ended', async () => {
  const end = Promise.withResolvers<void>();
  const starting = whileVmRuns(vm(end.promise), '/sandbox', { bootFailure }, async () => {
    setTimeout(end.resolve, 20);
    throw lost;
  });
  await expect(starting).rejects.toThrow('console of: the VM ended before its agent answered');
});

test('a VM that goes on running is not waited for', async () => {
  const refused = new RpcError('permission_denied', 'no');
  await expect(whileVmRuns(vm(), '/sandbox', {}, () => Promise.reject(refused))).rejects.toBe(refused);
});

test('giving up ends the wait', async () => {
  const controller = new AbortController();
  const starting = whileVmRuns(vm(), '/sandbox', { signal: controller.signal }, async () => {
    setTimeout(() => controller.abort(), 20);
    throw lost;
  });
  await expect(starting).rejects.toMatchObject({ code: 'cancelled' });
});
