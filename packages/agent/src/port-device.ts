/** The virtio device that a port belongs to: all its ports come and go with it. */
import { realpathSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * Takes the driver from the device and gives it back: the device is reset and has new, empty queues. Its ports must
 * be closed; they come back as other devices.
 * @param path such as /dev/vport1p1
 */
export function resetPortDevice(path: string): void {
  const device = realpathSync(join('/sys/class/virtio-ports', basename(path), 'device'));
  const driver = realpathSync(join(device, 'driver'));
  const name = basename(device);
  writeFileSync(join(driver, 'unbind'), name);
  writeFileSync(join(driver, 'bind'), name);
}
