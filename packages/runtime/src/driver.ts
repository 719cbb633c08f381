import type { VmDriver } from '@coracle/vm';
import { agentEntry, type Settings } from './settings.ts';

/** The driver that the settings ask for. */
export async function createDriver(settings: Settings): Promise<VmDriver> {
  const { createLocalDriver, createQemuDriver } = await import('@coracle/vm');
  if (settings.driver === 'local') return createLocalDriver({ agentEntry: agentEntry() });
  return createQemuDriver({ accel: settings.accel });
}
