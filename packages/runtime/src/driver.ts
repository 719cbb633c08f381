import type { VmDriver } from '@coracle/vm';
import { CliError } from './errors.ts';
import { agentEntry, type Settings, type Transport } from './settings.ts';

/** The driver that the settings ask for. @throws CliError for a transport that it does not have */
export async function createDriver(settings: Settings): Promise<VmDriver> {
  const { createLocalDriver, createQemuDriver } = await import('@coracle/vm');
  const { driver, accel, transport } = settings;
  if (driver === 'qemu') {
    return createQemuDriver({ accel, transport: of(driver, transport, ['auto', 'virtio-serial', 'vsock']) });
  }
  const wanted = of(driver, transport, ['auto', 'unix', 'hybrid', 'hybrid-listen', 'vsock']);
  return createLocalDriver({ agentEntry: agentEntry(), transport: wanted === 'auto' ? 'unix' : wanted });
}

function of<const T extends Transport>(driver: string, wanted: Transport, has: readonly T[]): T {
  const found = has.find((one) => one === wanted);
  if (found !== undefined) return found;
  throw new CliError(
    `CORACLE_TRANSPORT=${wanted} is none that the driver ${driver} has; give one of ${has.join(', ')}`,
  );
}
