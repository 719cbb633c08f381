import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkKvmDevice, decideAccel, type KvmDevice, type KvmProbe } from './accel.ts';
import { temporaryFolder } from './testing.ts';

const usable: KvmDevice = { kind: 'usable' };
const missing: KvmDevice = { kind: 'missing' };
const denied: KvmDevice = { kind: 'denied', detail: 'EACCES: permission denied' };
const boots: KvmProbe = { boots: true, detail: 'reached the initrd after 310 ms' };
const hangs: KvmProbe = { boots: false, detail: 'hung after the firmware' };

test.each([
  ['tcg', usable, undefined, 'tcg', 'emulation was asked for'],
  ['kvm', usable, undefined, 'kvm', 'KVM was asked for'],
  ['auto', missing, undefined, 'tcg', 'this host has no /dev/kvm'],
  ['auto', denied, undefined, 'tcg', '/dev/kvm does not open: EACCES'],
  ['auto', usable, boots, 'kvm', 'reached the initrd after 310 ms'],
  ['auto', usable, hangs, 'tcg', '/dev/kvm opens, but a trial boot with KVM hung after the firmware'],
] as const)('%s with the device %j and the trial %j: %s', async (setting, device, answer, accel, reason) => {
  let probes = 0;
  const decision = await decideAccel(setting, device, async () => {
    probes += 1;
    return answer!;
  });
  expect(decision.accel).toBe(accel);
  expect(decision.reason).toContain(reason);
  expect(probes).toBe(answer === undefined ? 0 : 1);
});

test.each([missing, denied])('kvm demanded with the device %j is an error with a remedy', async (device) => {
  const decision = decideAccel('kvm', device, () => Promise.reject(new Error('not to be called')));
  await expect(decision).rejects.toMatchObject({
    code: 'kvm-unusable',
    remedy: expect.stringContaining('auto'),
  });
});

test('a device that is not there is missing', () => {
  expect(checkKvmDevice(join(temporaryFolder(), 'kvm'))).toEqual({ kind: 'missing' });
});
