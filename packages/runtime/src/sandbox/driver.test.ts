import { expect, test } from 'vitest';
import { readSettings } from '../host/settings.ts';
import { createDriver } from './driver.ts';

test('a transport that nobody knows is refused by name', () => {
  expect(() => readSettings({ CORACLE_TRANSPORT: 'tcp' })).toThrow(
    'CORACLE_TRANSPORT=tcp is not known; give one of auto, virtio-serial, vsock, unix, hybrid, hybrid-listen',
  );
});

test.each([
  ['qemu', 'hybrid', 'auto, virtio-serial, vsock'],
  ['local', 'virtio-serial', 'auto, unix, hybrid, hybrid-listen, vsock'],
])('the driver %s has no %s, and says what it has', async (driver, transport, has) => {
  const settings = readSettings({ CORACLE_DRIVER: driver, CORACLE_TRANSPORT: transport });
  await expect(createDriver(settings)).rejects.toThrow(
    `CORACLE_TRANSPORT=${transport} is none that the driver ${driver} has; give one of ${has}`,
  );
});

test('both have auto', async () => {
  for (const driver of ['qemu', 'local']) {
    expect((await createDriver(readSettings({ CORACLE_DRIVER: driver }))).name).toBe(driver);
  }
});
