import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { inSlot, pluggedBalloon, SLOTS } from './command.ts';
import { findQemu } from './host.ts';
import { isListening } from './listening.ts';
import { Qmp } from './qmp.ts';
import { temporaryFolder, until } from './testing.ts';

// QEMU read slot 10 as 0x10, so the tenth network came where the sixteenth belongs, and there was no twentieth.
test('each slot of the bus takes a device, where it was asked for, and the balloon has the last', async () => {
  const path = join(temporaryFolder(), 'qmp.sock');
  const qemu = spawn(
    findQemu({}),
    [
      ...['-machine', 'q35', '-nodefaults', '-display', 'none', '-S'],
      ...['-device', 'pcie-pci-bridge,id=slots', '-qmp', `unix:${path},server=on,wait=off`],
    ],
    { stdio: 'ignore' },
  );
  onTestFinished(() => void qemu.kill('SIGKILL'));
  await until('the QMP socket', () => isListening(path));
  using qmp = await Qmp.connect(path);
  const slotOf = async (id: string): Promise<number> =>
    Number(await qmp.execute('qom-get', { path: `/machine/peripheral/${id}`, property: 'addr' })) >> 3;
  const slots: number[] = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    await qmp.execute('device_add', { driver: 'virtio-rng-pci', id: `rng${slot}`, ...inSlot(slot) });
    slots.push(await slotOf(`rng${slot}`));
  }
  expect(slots).toEqual(Array.from({ length: SLOTS }, (_, slot) => slot + 1));
  await qmp.execute('device_add', pluggedBalloon.device);
  expect(await slotOf('balloon')).toBe(31);
});
