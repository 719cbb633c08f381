/**
 * VMs that are started from a template (docs/templates.md): what they share they may share, what has to be their own is
 * their own, and a template that is damaged, or cannot be made, costs a boot and nothing else.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Coracle, rehearseVm, type Sandbox } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import {
  createQemuDriver,
  isAlive,
  type QemuDriver,
  readRecord,
  readyIn,
  stopVm,
  TemplateStore,
  type Vm,
} from '@coracle/vm';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { killPid, Place } from '../contract/place.ts';
import { containerConfig } from '../support/config.ts';
import { allProcesses } from '../support/processes.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { until } from '../support/wait.ts';
import { guestImage } from './guest-image.ts';

const MiB = 1 << 20;
const size = { memoryBytes: 256 * MiB, vcpus: 1 };

let folder: string;
let proxy: ProxyServer;
let coracle: Coracle;
let made: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ct-'));
  makeRootfs(join(folder, 'rootfs'));
  mkdirSync(join(folder, 'sandboxes'));
  proxy = new ProxyServer({ sandboxes: join(folder, 'sandboxes') });
  await proxy.listen(join(folder, 'proxy.sock'));
  coracle = new Coracle({ proxy: join(folder, 'proxy.sock'), sandboxes: join(folder, 'sandboxes') });
  made = join(folder, 'made');
  expect(await driverWith(made).makeTemplate({ image: guestImage(), ...size })).toBe('made');
});
afterAll(async () => {
  await proxy.close();
  rmSync(folder, { recursive: true });
});

const driverWith = (cacheDirectory: string): QemuDriver => createQemuDriver({ accel: 'tcg', cacheDirectory });

interface Started {
  readonly sandbox: Sandbox;
  readonly vm: Vm;
  readonly warnings: readonly string[];
  readonly missing: boolean;
}

async function start(driver: QemuDriver, shared: boolean | '9p' = true): Promise<Started> {
  const started = await startOnly(driver, shared);
  onTestFinished(() => started.sandbox.destroy({ force: true }));
  return started;
}

async function startOnly(driver: QemuDriver, shared: boolean | '9p' = true): Promise<Started> {
  let vm: Vm | undefined;
  let missing = false;
  const warnings: string[] = [];
  const binds = [{ name: 'rootfs', source: join(folder, 'rootfs') }];
  const sandbox = await coracle.startSandbox({
    ...size,
    image: guestImage(),
    shares: shared === false ? [] : [{ tag: 'pod', binds }],
    shareType: shared === '9p' ? '9p' : 'virtiofs',
    vm: {
      name: 'qemu',
      async start(spec) {
        vm = await driver.start(spec, {
          onWarning: (message) => warnings.push(message),
          onTemplateMissing: () => {
            missing = true;
          },
        });
        return vm;
      },
    },
  });
  return { sandbox, vm: vm!, warnings, missing };
}

const runningIn = (path: string) => allProcesses().filter(({ commandLine }) => commandLine.includes(path));

/** What a container in it prints. */
async function run(one: Started, script: string): Promise<string> {
  return (await runWithToken(one, script)).output;
}

/** What of the guest a container can be shown: files, cgroups, mounts and descriptors of pid 1, and programs that run. */
const lookAround = [
  'cd /mnt; find run/coracle -xdev | sort',
  'find sys/fs/cgroup -type d | sort',
  `awk '{ sub(/.* - /, "", $0); print $1, $2 }' /proc/1/mountinfo; awk '{ print $5 }' /proc/1/mountinfo`,
  'for fd in /proc/1/fd/*; do readlink $fd | sed "s/[0-9][0-9]*//g"; done | sort',
  // Without the kernel's threads, and without ourselves.
  'for p in /proc/[0-9]*; do readlink $p/exe; done | grep -v busybox | sort',
].join('; ');

/** @param shown folders of the guest, below /mnt */
async function runWithToken(
  { sandbox }: Started,
  script: string,
  id = 'c',
  shown: readonly string[] = [],
): Promise<{ output: string; token: string }> {
  const config = containerConfig(['sh', '-c', script], { rootfs: '/' });
  // It sees the guest's own hostname.
  Reflect.deleteProperty(config, 'hostname');
  const ofItsOwn = shown.length === 0 ? [{ type: 'pid' }] : [];
  config.linux.namespaces = [...ofItsOwn, { type: 'mount' }, { type: 'ipc' }];
  for (const source of shown)
    (config.mounts as object[]).push({
      destination: `/mnt${source}`,
      source,
      type: 'bind',
      options: ['rbind', 'ro'],
    });
  const capabilities = ['CAP_SYS_PTRACE', 'CAP_DAC_READ_SEARCH'];
  if (shown.length > 0)
    config.process.capabilities = {
      bounding: capabilities,
      permitted: capabilities,
      effective: capabilities,
    };
  const container = await sandbox.createContainer({
    id,
    config,
    rootfs: { share: 'pod', path: 'rootfs' },
  });
  await container.start();
  const { stdout, result } = await container.process.output();
  expect(result.code).toBe(0);
  const token = Buffer.from(container.process.handle.token).toString('hex');
  await container.remove();
  return { output: stdout.toString(), token };
}

describe('two VMs from one template', () => {
  let outputs: string[][];
  let started: number;
  beforeAll(async () => {
    started = Date.now() / 1000;
    const script = [
      'cat /proc/sys/kernel/random/boot_id',
      'head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n"; echo',
      'hostname',
      'date +%s',
    ].join('; ');
    const vms = await Promise.all([startOnly(driverWith(made)), startOnly(driverWith(made))]);
    for (const { vm, warnings, missing } of vms) {
      expect(warnings).toEqual([]);
      expect(missing).toBe(false);
      expect(vm.template).toMatch(/^[0-9a-f]{32}$/);
    }
    outputs = await Promise.all(
      vms.map(async (one) => {
        const { output, token } = await runWithToken(one, script);
        return [...output.trim().split('\n'), token];
      }),
    );
    for (const { sandbox } of vms) await sandbox.destroy();
  });
  const each = (line: number) => outputs.map((output) => output[line] as string);

  test.each([
    ['boot id', 0, /^[0-9a-f]{8}-[0-9a-f-]{27}$/],
    ['random bytes', 1, /^[0-9a-f]{64}$/],
    ['hostname', 2, /^[0-9a-f]{16}$/],
    // Node's own generator was seeded before the VM was saved: it would give both the same.
    ['token of the first process', 4, /^[0-9a-f]{32}$/],
  ] as const)('have their own %s', (_, line, looks) => {
    for (const value of each(line)) expect(value).toMatch(looks);
    expect(new Set(each(line)).size).toBe(2);
  });

  test("have the host's time, and not the template's", () => {
    for (const seconds of each(3).map(Number)) {
      expect(seconds).toBeGreaterThanOrEqual(Math.floor(started));
      expect(seconds).toBeLessThanOrEqual(Date.now() / 1000 + 1);
    }
  });
});

test("a guest's clock follows its host's, which was suspended or set", async () => {
  const one = await start(driverWith(made));
  const guestSeconds = async () => Number(await run(one, 'date +%s'));
  onTestFinished(() => void vi.useRealTimers());
  const hour = 3600_000;
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + hour);
  const real = () => Date.now() / 1000;
  await until(async () => Math.abs((await guestSeconds()) - real()) < 60, 'the guest has the new time');
  await one.sandbox.setClock();
  expect(Math.abs((await guestSeconds()) - real())).toBeLessThan(60);
});

test('a VM without shares maps the template, and leaves it as it is', async () => {
  const driver = driverWith(made);
  const first = await start(driver, false);
  expect(first.vm.template).toBeDefined();
  expect(readFileSync(`/proc/${first.vm.pids[0]}/cmdline`, 'latin1')).toContain('share=off');
  await first.sandbox.destroy();
  const store = new TemplateStore(made);
  for (const { template } of store.list()) await store.verify(template!);
  expect((await start(driver, false)).vm.template).toBe(first.vm.template);
});

test('without virtiofsd the share is 9p, and the memory is mapped', async () => {
  const driver = createQemuDriver({
    accel: 'tcg',
    template: 'auto',
    cacheDirectory: made,
    virtiofsd: '/nowhere/virtiofsd',
  });
  const one = await start(driver, '9p');
  expect(one.vm.template).toBeDefined();
  expect(readFileSync(`/proc/${one.vm.pids[0]}/cmdline`, 'latin1')).toContain('share=off');
  expect(await run(one, 'echo it runs')).toBe('it runs\n');
});

test('a share that cannot be is an error as with a boot, and costs no template', async () => {
  const directory = mkdtempSync(join(folder, 'sandboxes', 'd'));
  const shares = [{ tag: 'pod', binds: [{ name: 'a', source: '/nowhere/rootfs' }] }];
  const starting = driverWith(made).start({ image: guestImage(), ...size, directory, shares });
  await expect(starting).rejects.toMatchObject({ code: 'bad-spec' });
  expect(readdirSync(directory)).toEqual([]);
  expect(runningIn(directory)).toEqual([]);
  expect(new TemplateStore(made).list()).toHaveLength(1);
});

describe('a template that is no good', () => {
  let cache: string;
  let directory: string;
  beforeEach(() => {
    cache = mkdtempSync(join(folder, 'cache-'));
    execFileSync('cp', ['--archive', '--sparse=always', `${made}/.`, cache]);
    const [entry] = new TemplateStore(cache).list();
    directory = entry!.template!.directory;
  });

  test.each<readonly [string, RegExp, () => void]>([
    ['has a changed bit of memory', /ram has SHA-256/, () => flip(join(directory, 'ram'))],
    [
      'was cut short',
      /ram has 4096 bytes/,
      () => execFileSync('truncate', ['-s', '4096', join(directory, 'ram')]),
    ],
    ['has a changed bit of the devices', /state has SHA-256/, () => flip(join(directory, 'state'))],
    ['has no description', /template\.json/, () => rmSync(join(directory, 'template.json'))],
    [
      'QEMU does not take',
      /QEMU says:[\s\S]*load of migration failed|could not restore/,
      () => forge(directory),
    ],
  ])('that %s is removed, and the VM boots', async (_, reason, damage) => {
    damage();
    const one = await start(driverWith(cache));
    expect(one.vm.template).toBe(undefined);
    expect(one.warnings).toHaveLength(1);
    expect(one.warnings[0]).toMatch(reason);
    expect(one.missing).toBe(true);
    expect(existsSync(directory)).toBe(false);
    expect(await run(one, 'echo it runs')).toBe('it runs\n');
  });
});

/** One bit, where something is stored. */
function flip(path: string): void {
  const { extents } = JSON.parse(readFileSync(join(dirname(path), 'template.json'), 'utf8'));
  const at = path.endsWith('/ram') ? extents[0][0] : 0;
  const byte = Buffer.alloc(1);
  const fd = openSync(path, 'r+');
  readSync(fd, byte, 0, 1, at);
  byte[0]! ^= 1;
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
}

/** Devices of another machine, with a digest that fits. */
function forge(directory: string): void {
  const [path, description] = [join(directory, 'state'), join(directory, 'template.json')];
  const bytes = readFileSync(path);
  bytes.write('no such machine, no such machine', bytes.indexOf('pc-q35'));
  writeFileSync(path, bytes);
  const record = JSON.parse(readFileSync(description, 'utf8'));
  record.stateSha256 = execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64);
  writeFileSync(description, JSON.stringify(record));
}

describe('a maker', () => {
  let cache: string;
  beforeEach(() => {
    cache = mkdtempSync(join(folder, 'cache-'));
  });
  const spec = { image: guestImage(), ...size };

  function maker(): ChildProcess {
    const program = join(import.meta.dirname, 'make-template.ts');
    const child = spawn(process.execPath, [program, cache, JSON.stringify(spec)], { stdio: 'inherit' });
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  }
  const files = () => (existsSync(join(cache, 'templates')) ? readdirSync(join(cache, 'templates')) : []);
  const unfinished = () => files().find((name) => name.includes('.new-'));

  test('that is killed while its VM boots takes it along, and the next one makes the template', async () => {
    const child = maker();
    await until(() => unfinished() !== undefined && runningIn(cache).length > 1, 'its VM runs');
    child.kill('SIGKILL');
    await until(() => runningIn(cache).length === 0, 'nothing of it runs');
    const one = await start(driverWith(cache));
    expect([one.vm.template, one.missing]).toEqual([undefined, true]);
    expect(await driverWith(cache).makeTemplate(spec)).toBe('made');
    expect(unfinished()).toBe(undefined);
  });

  test('that is not alone leaves the work to the other', async () => {
    const outcomes = await Promise.all([1, 2].map(() => driverWith(cache).makeTemplate(spec)));
    expect(outcomes.sort()).toEqual(['another one makes it', 'made']);
    expect(await driverWith(cache).makeTemplate(spec)).toBe('there already');
  });

  test('without room on its disk says so to the next start, and leaves nothing else', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'none', cache]);
    onTestFinished(() => void execFileSync('umount', ['--lazy', cache]));
    await expect(driverWith(cache).makeTemplate(spec)).rejects.toThrow(/ENOSPC/);
    expect(files().filter((name) => !/\.(lock|failed)$/.test(name))).toEqual([]);
    const decisions: string[] = [];
    const directory = mkdtempSync(join(folder, 'sandboxes', 'd'));
    const vm = await driverWith(cache).start(
      { ...spec, directory, shares: [] },
      { onDecision: (message) => decisions.push(message) },
    );
    await vm.stop({ force: true });
    expect(decisions.join('\n')).toMatch(/no template \w+: it could not be made: ENOSPC/);
  });

  test('is not needed for another machine: that one has another key', async () => {
    const driver = driverWith(made);
    let missing = 0;
    const directory = mkdtempSync(join(folder, 'sandboxes', 'd'));
    const vm = await driver.start(
      { image: guestImage(), memoryBytes: 320 * MiB, vcpus: 1, directory, shares: [] },
      { onTemplateMissing: () => void missing++ },
    );
    await vm.stop({ force: true });
    expect([vm.template, missing]).toEqual([undefined, 1]);
  });
});

describe('a pool', () => {
  const spec = { image: guestImage(), ...size };
  const open = async (directory: string, size: number) => {
    const pool = await driverWith(made).openPool(spec, {
      directory,
      size,
      shares: ['pod'],
      prepare: ({ linkPath }, options) => rehearseVm(linkPath, options),
    });
    onTestFinished(() => pool[Symbol.asyncDispose]());
    return pool;
  };
  const waiting = (directory: string, count: number) =>
    until(() => readyIn(directory).length === count, `${count} VMs wait`, 60_000);

  test('gives each VM away once, refills, and leaves nothing when it is closed', async () => {
    const directory = join(folder, 'pool');
    const pool = await open(directory, 2);
    await expect(driverWith(made).openPool(spec, { directory, size: 1 })).rejects.toThrow(
      'there is a pool in',
    );
    await waiting(directory, 2);
    const waited = readyIn(directory);
    const driver = createQemuDriver({ accel: 'tcg', cacheDirectory: made, pool: directory });
    const vms = await Promise.all([start(driver), start(driver)]);
    expect(vms.map(({ vm }) => readRecord(vm.directory)?.startedIn).toSorted()).toEqual(
      waited.map((name) => join(directory, `.${name}`)).toSorted(),
    );
    const outputs = await Promise.all(
      vms.map((one) => runWithToken(one, 'cat /proc/sys/kernel/random/boot_id')),
    );
    expect(new Set(outputs.map(({ output }) => output)).size).toBe(2);
    expect(new Set(outputs.map(({ token }) => token)).size).toBe(2);
    expect(vms.flatMap(({ warnings }) => warnings)).toEqual([]);
    await waiting(directory, 2);

    await pool[Symbol.asyncDispose]();
    expect(readdirSync(directory)).toEqual(['lock']);
    expect(await run(vms[0]!, 'echo goes on')).toBe('goes on\n');
    for (const { sandbox } of vms) await sandbox.destroy({ force: true });
    expect(runningIn(directory)).toEqual([]);
  });

  // It has had a container of its own (docs/templates.md, "A pool").
  test('gives a VM in which nothing tells that it has rehearsed', async () => {
    const directory = join(folder, 'pool');
    await open(directory, 1);
    await waiting(directory, 1);
    const seen = async (driver: QemuDriver, from: 'pool' | undefined) => {
      const one = await start(driver);
      expect(one.vm.template).toBeDefined();
      expect(readRecord(one.vm.directory)?.startedIn !== undefined).toBe(from === 'pool');
      // The rehearsal's own name.
      return await runWithToken(one, lookAround, 'rehearsal', ['/run', '/sys/fs/cgroup']);
    };
    const pooled = await seen(
      createQemuDriver({ accel: 'tcg', cacheDirectory: made, pool: directory }),
      'pool',
    );
    const restored = await seen(driverWith(made), undefined);
    expect(pooled.output).toBe(restored.output);
    for (const known of [
      /^run\/coracle\/crun\/rehearsal$/m,
      /cgroup\/coracle\/rehearsal$/m,
      /^\/run\/coracle\/shares\/pod$/m,
      /^\/dev\/vport/m,
      /^\/usr\/bin\/node$/m,
    ])
      expect(pooled.output).toMatch(known);
    expect(pooled.token).not.toBe(restored.token);
  });

  test('replaces a VM that has died in it', async () => {
    const directory = join(folder, 'pool');
    await open(directory, 1);
    await waiting(directory, 1);
    const [first] = readyIn(directory);
    process.kill(readRecord(join(directory, first!))!.main!.pid, 'SIGKILL');
    await until(() => readyIn(directory).some((name) => name !== first), 'another VM waits', 60_000);
    expect(readyIn(directory)).toHaveLength(1);
  });

  // A VM between two owners belonged to neither.
  test('a VM that was taken by somebody who died then is ended with the sandbox', async () => {
    const directory = join(folder, 'pool');
    await open(directory, 1);
    await waiting(directory, 1);
    const sandbox = mkdtempSync(join(folder, 'sandbox-'));
    renameSync(join(directory, readyIn(directory)[0]!), join(sandbox, 'claimed'));
    const { main } = readRecord(join(sandbox, 'claimed'))!;
    expect(isAlive(main!)).toBe(true);
    await stopVm(sandbox, true);
    expect(isAlive(main!)).toBe(false);
    expect(readdirSync(sandbox)).toEqual([]);
  });

  test('that was killed is cleared by the next one; containers that it gave a VM go on', async () => {
    await using place = new Place('qemu');
    const directory = join(place.runFolder, 'pool');
    const serve = () => place.start(['pool', '--size', '1']);
    const env = { CORACLE_TEMPLATE: 'auto' };
    expect((await place.coracle(['template', 'build'])).code).toBe(0);
    const killed = serve();
    await waiting(directory, 1);
    const bundle = place.bundle(['cat']);
    const container = place.start(['--debug', 'run', '--bundle', bundle, 'taken'], { stdin: 'open', env });
    await until(() => container.stderr.includes('a VM of the pool'), 'a VM of the pool is taken', 60_000);
    await waiting(directory, 1);
    const left = readRecord(join(directory, readyIn(directory)[0]!))!.main!;
    killPid(killed.pid, 'SIGKILL');
    await killed.ended();
    expect(isAlive(left)).toBe(true);
    const next = serve();
    await until(() => !isAlive(left), 'the VM that was left has been ended');
    await waiting(directory, 1);
    container.child.stdin!.end('still here\n');
    await container.says('still here\n');
    expect(await container.ended()).toBe(0);
    next.child.kill('SIGTERM');
    expect(await next.ended()).toBe(0);
    expect(readdirSync(directory)).toEqual(['lock']);

    const last = serve();
    await waiting(directory, 1);
    expect((await place.coracle(['gc'])).stdout).toBe('');
    killPid(last.pid, 'SIGKILL');
    await last.ended();
    expect((await place.coracle(['gc'])).stdout).toBe('removed 1 VM of a pool that was killed\n');
    expect(readdirSync(directory)).toEqual(['lock']);
  });
});

describe('the command line', () => {
  const from = (stderr: string) => /msg="(no )?template (\w{32})/.exec(stderr)?.slice(1);

  test('boots the first VM of a kind, makes its template behind it, and starts the next one from there', async () => {
    await using place = new Place('qemu');
    const cache = mkdtempSync(join(folder, 'cache-'));
    const bundle = place.bundle(['echo', 'hello']);
    const hello = async (id: string, template: string) => {
      const env = { CORACLE_CACHE: cache, CORACLE_TEMPLATE: template };
      const ended = await place.coracle(['--debug', 'run', '--bundle', bundle, id], { env });
      expect(ended).toMatchObject({ code: 0, stdout: 'hello\n' });
      return from(ended.stderr);
    };
    const [no, key] = (await hello('first', 'auto')) ?? [];
    expect(no).toBe('no ');
    const store = new TemplateStore(cache);
    await until(() => store.list().length > 0, 'the template is made', 120_000);
    await until(() => runningIn(cache).length === 0, 'its maker has ended');
    expect(store.list()).toMatchObject([{ key }]);
    expect(await hello('second', 'auto')).toEqual([undefined, key]);
    expect(await hello('third', 'off')).toBe(undefined);

    const env = { CORACLE_CACHE: cache };
    const template = async (...args: string[]) => place.coracle(['template', ...args], { env });
    expect(JSON.parse((await template('list', '--json')).stdout)).toMatchObject([
      { key, accel: 'tcg', vcpus: 1 },
    ]);
    expect(await template('verify')).toMatchObject({ code: 0, stdout: `${key}  ok\n` });
    flip(join(store.directory(key!), 'ram'));
    expect(await template('verify')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('it was changed'),
    });
    expect(await template('prune')).toMatchObject({ code: 0, stdout: `removed ${key}\n` });
    expect(store.list()).toEqual([]);
  });
});
