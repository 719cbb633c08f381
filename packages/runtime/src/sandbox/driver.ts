import type { QemuDriver, VmDriver } from '@coracle/vm';
import { CliError } from '../cli/errors.ts';
import { agentEntry, poolFolder, type Settings, type Transport } from '../host/settings.ts';

/** The driver that the settings ask for. @throws CliError for a transport that it does not have */
export async function createDriver(settings: Settings): Promise<VmDriver> {
  const { driver, transport } = settings;
  if (driver === 'qemu') return await createVmDriver(settings);
  const wanted = of(driver, transport, ['auto', 'unix', 'hybrid', 'hybrid-listen', 'vsock']);
  const { createLocalDriver } = await import('@coracle/vm');
  return createLocalDriver({ agentEntry: agentEntry(), transport: wanted === 'auto' ? 'unix' : wanted });
}

/** The one that has VMs. @throws CliError for a transport that it does not have */
export async function createVmDriver({
  accel,
  transport,
  template,
  runDirectory,
}: Settings): Promise<QemuDriver> {
  const { createQemuDriver } = await import('@coracle/vm');
  return createQemuDriver({
    accel,
    transport: of('qemu', transport, ['auto', 'virtio-serial', 'vsock']),
    template: template === 'off' ? 'off' : 'auto',
    pool: poolFolder(runDirectory),
  });
}

function of<const T extends Transport>(driver: string, wanted: Transport, has: readonly T[]): T {
  const found = has.find((one) => one === wanted);
  if (found !== undefined) return found;
  throw new CliError(
    `CORACLE_TRANSPORT=${wanted} is none that the driver ${driver} has; give one of ${has.join(', ')}`,
  );
}
