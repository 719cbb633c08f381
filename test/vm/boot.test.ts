/**
 * Virtual machines with real QEMU and the real image: one boots, is found and steered by others than its
 * starter and leaves nothing; broken images say where they broke; whoever is killed and whenever, `stop`
 * cleans up. What runs inside the guest is tested elsewhere.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  bootFailure,
  bootReport,
  createQemuDriver,
  findOwned,
  openVm,
  readRecord,
  stopVm,
  type Vm,
  type VmSpec,
} from '@coracle/vm';
import { expect, onTestFinished, test } from 'vitest';
import { guestImage } from './guest-image.ts';

const tcg = createQemuDriver({ accel: 'tcg', template: 'off' });
const bootTimeoutMs = 60_000;

async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = bootTimeoutMs) {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await delay(10);
  }
}

function fixture() {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-'));
  const directory = join(folder, 'vm');
  mkdirSync(directory, { mode: 0o700 });
  const source = join(folder, 'source');
  mkdirSync(source);
  onTestFinished(async () => {
    await stopVm(directory, true);
    rmSync(folder, { recursive: true });
  });
  const share = { tag: 'coracle', binds: [{ name: 'web/rootfs', source }] };
  const spec: VmSpec = { directory, image: guestImage(), memoryBytes: 384 << 20, vcpus: 1, shares: [share] };
  return { folder, directory, spec };
}

type Part = 'kernel' | 'root';

/** The image with a kernel or root of its own, the rest being links. A manifest that fits lets it be started. */
function imageWith(folder: string, part: Part, change: (path: string) => void, fits = true): string {
  const image = join(folder, 'image');
  mkdirSync(image);
  const manifest = JSON.parse(readFileSync(join(guestImage(), 'manifest.json'), 'utf8'));
  const changed = manifest[part].file;
  for (const file of Object.keys(manifest.files)) {
    if (file === changed) copyFileSync(join(guestImage(), file), join(image, file));
    else symlinkSync(join(guestImage(), file), join(image, file));
  }
  const path = join(image, changed);
  change(path);
  if (fits) {
    const content = readFileSync(path);
    const sha256 = createHash('sha256').update(content).digest('hex');
    manifest.files[changed] = { sizeBytes: content.length, sha256 };
  }
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest));
  return image;
}

/** Only the host's side: Debian's kernel for clouds has no 9p to mount it with, our own has. */
function guestImageWith9p(folder: string): string {
  const image = join(folder, 'image');
  mkdirSync(image);
  const manifest = JSON.parse(readFileSync(join(guestImage(), 'manifest.json'), 'utf8'));
  for (const file of Object.keys(manifest.files)) symlinkSync(join(guestImage(), file), join(image, file));
  manifest.kernel.filesystems.push('9p');
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest));
  return image;
}

function overwrite(path: string, from: number, bytes: number, value = 0): void {
  const content = readFileSync(path);
  content.fill(value, from, from + bytes);
  writeFileSync(path, content);
}

/** Whatever stands there, it is another byte afterwards. */
function flipBit(path: string, at: number): void {
  const content = readFileSync(path);
  content[at]! ^= 1;
  writeFileSync(path, content);
}

async function failedBoot(vm: Vm) {
  await vm.waitExit({ signal: AbortSignal.timeout(bootTimeoutMs) });
  return bootFailure(vm.directory, 'the guest ended while it booted');
}

/** Nothing runs, nothing listens; only the record and the logs are there, for a report. */
function expectStopped(directory: string) {
  expect(findOwned(directory)).toEqual([]);
  expect(readRecord(directory)?.state ?? 'stopped').toBe('stopped');
  const logs = ['console.log', 'fs-coracle.log', 'qemu.log', 'vm.json'];
  expect(readdirSync(directory).filter((name) => !logs.includes(name))).toEqual([]);
}

test('a VM boots as far as the agent, is paused and resumed by another, and stopped', async () => {
  const { directory, spec } = fixture();
  const vm = await tcg.start(spec);
  expect(vm.accel).toBe('tcg');
  const other = openVm(directory);
  expect(other.pids).toEqual(vm.pids);
  expect(await other.status()).toBe('running');
  await other.pause();
  expect(await vm.status()).toBe('paused');
  await vm.resume();
  expect(await other.status()).toBe('running');
  await until('the agent', () => bootReport(directory).stage === 'agent');
  await expect(tcg.start(spec)).rejects.toMatchObject({ code: 'already-started' });
  const exits = Promise.all([vm.waitExit(), other.waitExit()]);
  await Promise.all([other.stop(), vm.stop()]);
  expect((await exits)[1]).toEqual({ kind: 'gone' });
  expectStopped(directory);
  await vm.stop({ force: true });
  expect(await vm.status()).toBe('gone');
});

test('a file that was cut or changed is refused before QEMU starts, with its name and digest', async () => {
  const { folder, directory, spec } = fixture();
  const cut = imageWith(folder, 'kernel', (path) => truncateSync(path, 4_000_000), false);
  await expect(tcg.start({ ...spec, image: cut })).rejects.toMatchObject({
    code: 'image-invalid',
    message: expect.stringMatching(/image\/vmlinu\w has 4000000 bytes and should have \d+/),
  });
  rmSync(cut, { recursive: true });
  const changed = imageWith(folder, 'root', (path) => flipBit(path, 5_000_000), false);
  await expect(tcg.start({ ...spec, image: changed })).rejects.toMatchObject({
    code: 'image-invalid',
    message: expect.stringMatching(/image\/rootfs\.\w+ has SHA-256 \w{64} and should have \w{64}/),
  });
  expect(readdirSync(directory)).toEqual([]);
});

/** int3, where nobody handles interrupts yet: the machine resets. */
const breakpoint = 0xcc;

test('a kernel that crashes fails in the stage kernel', async () => {
  const { folder, spec } = fixture();
  const image = imageWith(folder, 'kernel', (path) => overwrite(path, 1 << 20, 2 << 20, breakpoint));
  const error = await failedBoot(await tcg.start({ ...spec, image }));
  expect(error.report.stage).toBe('kernel');
  expect(error.message).toMatch(/stage reached: kernel[\s\S]*Booting from ROM[\s\S]*make image/);
});

test('a root filesystem that is none fails in the stage root, with the words of the guest', async () => {
  const { folder, spec } = fixture();
  const image = imageWith(folder, 'root', (path) => overwrite(path, 0, 1 << 20));
  const error = await failedBoot(await tcg.start({ ...spec, image }));
  expect(error.report).toMatchObject({
    stage: 'root',
    failure: expect.stringMatching(/mount (the )?root/),
  });
  expect(error.remedy).toContain('root disk');
});

test('QEMU killed: the starter learns the signal, virtiofsd goes by itself, stop tidies up', async () => {
  const { directory, spec } = fixture();
  const vm = await tcg.start(spec);
  process.kill(vm.pids[0]!, 'SIGKILL');
  expect(await vm.waitExit()).toEqual({ kind: 'signalled', signal: 'SIGKILL' });
  await until('the end of virtiofsd', () => findOwned(directory).length === 0, 10_000);
  await openVm(directory).stop();
  expectStopped(directory);
});

test('virtiofsd killed takes its sandboxed half with it', async () => {
  const { directory, spec } = fixture();
  const vm = await tcg.start(spec);
  await until('both halves of virtiofsd', () => findOwned(directory).length === 3);
  process.kill(vm.pids[1]!, 'SIGKILL');
  await until('the end of virtiofsd', () => findOwned(directory).length === 1, 10_000);
  await vm.stop();
  expectStopped(directory);
});

test('without virtiofsd QEMU serves the share by 9p, from private mounts of its own', async () => {
  const { folder, directory, spec } = fixture();
  const image = guestImageWith9p(folder);
  const without = createQemuDriver({ accel: 'tcg', virtiofsd: '/nowhere/virtiofsd', template: 'off' });
  const vm = await without.start({ ...spec, image });
  expect(vm.pids).toHaveLength(1);
  const target = `${directory}/share-coracle/web/rootfs`;
  expect(readFileSync(`/proc/${vm.pids[0]}/mountinfo`, 'utf8')).toContain(` ${target} `);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
  expect(await openVm(directory).status()).toBe('running');
  await vm.stop();
  expectStopped(directory);
});

function startElsewhere(spec: VmSpec) {
  const program = spawn(process.execPath, [join(import.meta.dirname, 'start-vm.ts'), JSON.stringify(spec)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void program.kill('SIGKILL'));
  return program;
}

test('a VM outlives the command that started it', async () => {
  const { directory, spec } = fixture();
  const [code] = await once(startElsewhere(spec), 'exit');
  expect(code).toBe(0);
  const vm = openVm(directory);
  expect(await vm.status()).toBe('running');
  await vm.stop();
  expectStopped(directory);
});

test('a starter killed at any moment leaves what stop finds', async () => {
  for (let afterMs = 0; afterMs <= 200; afterMs += 20) {
    const { directory, spec } = fixture();
    const program = startElsewhere(spec);
    await once(program.stdout, 'data');
    // Not a wait for something: the moment of the murder is what is varied.
    await delay(afterMs);
    program.kill('SIGKILL');
    if (program.exitCode === null && program.signalCode === null) await once(program, 'exit');
    await stopVm(directory, true);
    expectStopped(directory);
  }
});

test('a start aborted at any moment leaves nothing', async () => {
  const reason = new Error('enough');
  for (let afterMs = 0; afterMs <= 100; afterMs += 20) {
    const { directory, spec } = fixture();
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(reason), afterMs);
    const outcome = await tcg.start(spec, { signal: controller.signal }).catch((error: unknown) => error);
    clearTimeout(timer);
    if (outcome === reason) expect(readdirSync(directory)).toEqual([]);
    else await (outcome as Vm).stop({ force: true });
    expect(findOwned(directory)).toEqual([]);
  }
});
