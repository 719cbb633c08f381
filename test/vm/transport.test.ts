/**
 * The choice of a transport where there is no /dev/vhost-vsock, and a guest that is told to listen on AF_VSOCK: what can
 * be seen of that path without the device. The link itself runs in test/vm/vsock.test.ts.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootFailure, createQemuDriver, stopVm } from '@coracle/vm';
import { describe, expect, onTestFinished, test } from 'vitest';
import { amountsOf } from '../contract/bytes.ts';
import { transportContract } from '../contract/contract.ts';
import { MiB, Place } from '../contract/place.ts';
import { until } from '../support/wait.ts';
import { guestImage } from './guest-image.ts';

const hasVhostVsock = existsSync('/dev/vhost-vsock');

// On a host that has the device the contract runs over it.
if (hasVhostVsock) {
  const amounts = { ...amountsOf.qemu, bytes: 16 * MiB, lossBytes: 8 * MiB, copyingRounds: 10 };
  describe('vhost-vsock', () => transportContract('qemu', 'vsock', amounts));
} else
  describe('without /dev/vhost-vsock', () => {
    test('vsock is refused with what to do, and nothing is left', async () => {
      await using place = new Place('qemu', 'vsock');
      const ended = await place.coracle(['run', '--bundle', place.bundle(['true']), 'v']);
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toContain('vsock was asked for, but this host has no /dev/vhost-vsock');
      expect(ended.stderr).toContain('modprobe vhost_vsock');
      expect(ended.stderr).toContain('CORACLE_TRANSPORT=auto');
      await place.expectNothingLeft();
    });

    test('auto takes virtio-serial, and --debug and doctor say why', async () => {
      await using place = new Place('qemu', 'auto');
      const ended = await place.coracle(['--debug', 'run', '--bundle', place.bundle(['true']), 'a']);
      expect(ended.code).toBe(0);
      expect(ended.stderr).toContain('transport virtio-serial: this host has no /dev/vhost-vsock');
      const doctor = await place.coracle(['doctor', '--json']);
      expect(JSON.parse(doctor.stdout).checks).toContainEqual({
        name: 'transport',
        verdict: 'ok',
        detail: 'virtio-serial: this host has no /dev/vhost-vsock',
      });
    });
  });

const driver = createQemuDriver({ transport: 'virtio-serial', template: 'off' });

async function boot(kernelArguments: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-t'));
  const directory = join(folder, 'vm');
  mkdirSync(directory, { mode: 0o700 });
  onTestFinished(async () => {
    await stopVm(directory, true);
    rmSync(folder, { recursive: true });
  });
  const size = { memoryBytes: 384 << 20, vcpus: 1, shares: [] };
  const vm = await driver.start({ directory, image: guestImage(), ...size, kernelArguments });
  return { vm, console: () => readFileSync(join(directory, 'console.log'), 'utf8') };
}

test('an agent that is told so listens on AF_VSOCK, once /init has loaded its modules', async () => {
  const modules = 'coracle.modules=vmw_vsock_virtio_transport,vsock_loopback';
  const { console } = await boot([modules, 'coracle.link=vsock:1024', 'coracle.log=info']);
  await until(
    () => console().includes('"vsockPort":1024'),
    () => `the agent listens:\n${console()}`,
    60_000,
  );
});

test.each([
  ['coracle.link=nonsense', /failed: link: coracle\.link=nonsense on the kernel's command line is no link/],
  ['coracle.link=vsock:99999999999', /failed: link: coracle\.link=vsock:99999999999 .* is no link/],
])('a guest that cannot do %s says so and ends', async (word, message) => {
  const { vm } = await boot([word]);
  await vm.waitExit({ signal: AbortSignal.timeout(60_000) });
  expect(bootFailure(vm.directory, 'it ended').message).toMatch(message);
});
