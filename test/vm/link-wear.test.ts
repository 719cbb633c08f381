/**
 * A virtio-serial port that loses its host in the middle of a write, more often than its queue has places. Guards a link
 * that was silent for ever, for two reasons, which no fault suite of a few minutes meets. A host that came at once was
 * answered on a connection that the agent then ended (docs/protocol.md, "A host that comes at once"): one run of seven
 * met it. And QEMU keeps one place of the guest's queue at each such end (docs/protocol.md, "A port that wears"): of 128
 * none was left, whoever connected.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { Coracle } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import { bootFailure, createQemuDriver, Qmp } from '@coracle/vm';
import { expect, onTestFinished, test } from 'vitest';
import { dialLink } from '../../packages/proxy/src/dial.ts';
import { containerConfig } from '../support/config.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { until } from '../support/wait.ts';
import { guestImage } from './guest-image.ts';

/** virtio's queue of a port has 128 places. */
const LOSSES = 160;

test(`a link that is lost ${LOSSES} times in the middle of a write still carries every byte`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-w'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const rootfs = join(folder, 'rootfs');
  makeRootfs(rootfs);
  const sandboxes = join(folder, 'sandboxes');
  let link: Duplex | undefined;
  const dial: typeof dialLink = async (...args) => {
    const dialled = await dialLink(...args);
    link = dialled.socket;
    return dialled;
  };
  const proxy = new ProxyServer({ sandboxes, dial });
  await proxy.listen(join(folder, 'proxy.sock'));
  onTestFinished(() => proxy.close());
  const coracle = new Coracle({ proxy: join(folder, 'proxy.sock'), sandboxes });
  const vm = createQemuDriver({ transport: 'virtio-serial' });
  const shares = [{ tag: 'containers', binds: [{ name: 'rootfs', source: rootfs }] }];
  await using sandbox = await coracle.startSandbox({ vm, image: guestImage(), shares, bootFailure });
  const container = await sandbox.createContainer({
    id: 'flood',
    config: containerConfig(['cat', '/dev/zero']),
    rootfs: { share: 'containers', path: 'rootfs' },
  });
  let came = 0;
  let other = 0;
  container.process.stdout.on('data', (bytes: Buffer) => {
    came += bytes.length;
    if (!bytes.equals(Buffer.alloc(bytes.length))) other++;
  });
  await container.start();
  const qmp = await Qmp.connect(join(sandboxes, sandbox.id, 'qmp.sock'));
  onTestFinished(() => qmp.close());
  const throttled = async (): Promise<boolean> => {
    const tree = await qmp.execute('human-monitor-command', { 'command-line': 'info qtree' });
    return String(tree).includes('host on, throttle on');
  };
  for (let loss = 1; loss <= LOSSES; loss++) {
    const before = came;
    await until(() => came > before, `bytes come after ${loss - 1} losses`);
    const lost = link!;
    lost.pause();
    await until(throttled, 'QEMU holds a write that the host does not take');
    lost.destroy();
  }
  const before = came;
  await until(() => came > before + 2 ** 20, `a MiB comes after ${LOSSES} losses`);
  expect(other).toBe(0);
}, 240_000);
