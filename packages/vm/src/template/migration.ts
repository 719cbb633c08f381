/** QEMU's migration (docs/devel/migration.rst there), of which a template is the saved half. */
import { setTimeout as delay } from 'node:timers/promises';
import { VmError } from '../errors.ts';
import type { Qmp } from '../qmp.ts';

/** Memory that is shared with others is not part of the stream: RAM, and the root that is mapped. */
export async function leaveMemoryOut(qmp: Qmp): Promise<void> {
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-ignore-shared', state: true }],
  });
}

/** @throws VmError `start-failed` with QEMU's words */
export async function migrated(qmp: Qmp, what: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    signal?.throwIfAborted();
    const answer = (await qmp.execute('query-migrate')) as { status?: string; 'error-desc'?: string };
    const { status, 'error-desc': why } = answer;
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled')
      throw new VmError('start-failed', `QEMU could not ${what} the VM: ${why ?? status}`);
    await delay(1);
  }
}
