/**
 * Baselines in a VM of their own, with the same kernel, devices and QEMU as a sandbox: bare boot to init, dd
 * over the virtio-serial port with a trivial peer, crun exec alone (bench/guest/agent.js does the guest's part).
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createQemuDriver, type Share, sizeVm, type Vm } from '@coracle/vm';
import { debianRoot, writeBundle } from '../scripts/bundle.ts';
import { bareBoots } from './bare-boot.ts';

const root = path.dirname(import.meta.dirname);
/** What sandboxes boot; the baselines' image is made of the same recipe. */
export const imageFolder = path.join(root, 'out/image');

export interface Baseline {
  /** bench/bare-boot.ts; one per boot. */
  readonly bootToInitMs: number[];
  /** MB/s, one per round. */
  readonly ddOut: number[];
  readonly ddIn: number[];
  readonly crunExecMs: number[];
}

export async function measureBaseline(rounds: number): Promise<Baseline> {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  try {
    const image = path.join(folder, 'image');
    execFileSync(
      path.join(root, 'bin/coracle-image'),
      ['build', path.join(root, 'images/base'), '--output', image, '--agent', path.join(root, 'bench/guest')],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const bootToInitMs = await bareBoots(imageFolder, rounds);
    // crun's container is the one of the other benchmarks: its root is on virtiofs, its programs are Debian's.
    const bundle = path.join(folder, 'bundle');
    const rootfs = debianRoot();
    writeBundle(bundle, rootfs, { args: ['/bin/sleep', '100000'] });
    const binds = [
      { name: 'rootfs', source: rootfs },
      { name: 'bundle', source: bundle },
    ];
    const vm = await boot(folder, image, [{ tag: 'host', binds }]);
    try {
      return { bootToInitMs, ...(await measureIn(vm, rounds)) };
    } finally {
      await vm.stop({ force: true });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function boot(folder: string, image: string, shares: readonly Share[]): Promise<Vm> {
  // The baseline reads the port by itself.
  const driver = createQemuDriver({ transport: 'virtio-serial', template: 'off' });
  return await driver.start({
    directory: mkdtempSync(path.join(folder, 'vm-')),
    ...sizeVm({}),
    image,
    shares,
  });
}

async function measureIn(vm: Vm, rounds: number): Promise<Omit<Baseline, 'bootToInitMs'>> {
  const socket = net.connect(vm.linkPath);
  await once(socket, 'connect');
  const peer = new TrivialPeer(socket);
  const mib = 32;
  const ddOut: number[] = [];
  const ddIn: number[] = [];
  for (let i = 0; i < rounds; i++) {
    // By the host's clock, from the first byte on, as the other benchmarks.
    socket.write(`out ${mib}\n`);
    const outMs = await peer.skip(mib * 1024 * 1024);
    await peer.answer();
    ddOut.push((mib * 1.048576) / (outMs / 1000));
    socket.write(`in ${mib}\n`);
    await peer.answer();
    const inStart = performance.now();
    const block = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < mib; sent++) if (!socket.write(block)) await once(socket, 'drain');
    await peer.answer();
    ddIn.push((mib * 1.048576) / ((performance.now() - inStart) / 1000));
  }
  socket.write(`exec ${rounds * 4}\n`);
  const { ms } = (await peer.answer()) as { ms: number[] };
  socket.write('quit\n');
  socket.destroy();
  return { ddOut, ddIn, crunExecMs: ms };
}

/** Counts bytes, then reads lines: as little as a peer can do. */
class TrivialPeer {
  #toSkip = 0;
  #text = '';
  #wake: () => void = () => undefined;

  constructor(socket: net.Socket) {
    socket.on('data', (chunk) => {
      const skipped = Math.min(this.#toSkip, chunk.length);
      this.#toSkip -= skipped;
      if (skipped < chunk.length) this.#text += chunk.toString('latin1', skipped);
      this.#wake();
    });
  }

  /** @returns ms from the first byte to the last */
  async skip(bytes: number): Promise<number> {
    this.#toSkip = bytes;
    await this.#until(() => this.#toSkip < bytes);
    const start = performance.now();
    await this.#until(() => this.#toSkip === 0);
    return performance.now() - start;
  }

  async answer(): Promise<unknown> {
    await this.#until(() => this.#text.includes('\n'));
    const end = this.#text.indexOf('\n');
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    const answer = JSON.parse(line) as { error?: string };
    if (answer.error !== undefined) throw new Error(`the baseline's guest: ${answer.error}`);
    return answer;
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}
