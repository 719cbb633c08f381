/** What `coracle doctor` looks at. Each check answers by itself, so one that breaks hides no other. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';
import type { VmDriver } from '@coracle/vm';
import { errnoCode, messageOf } from '../cli/errors.ts';
import { checkRunDirectory, installation, type Settings } from './settings.ts';

export type Verdict = 'ok' | 'warning' | 'missing';

export interface CheckResult {
  readonly name: string;
  readonly verdict: Verdict;
  /** What was found. */
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string;
}

type Check = (settings: Settings, progress: (text: string) => void) => Promise<Omit<CheckResult, 'name'>>;

const ok = (detail: string) => ({ verdict: 'ok', detail }) as const;
const mebibytes = (bytes: number) => `${Math.floor(bytes / 2 ** 20)} MiB`;

const node: Check = async () => {
  const { node: version } = process.versions;
  if (Number(version.split('.')[0]) >= 24) return ok(`${version}, ${process.execPath}`);
  return {
    verdict: 'missing',
    detail: `${version} is too old`,
    remedy: 'Use bin/coracle, which brings Node 24: make build.',
  };
};

const qemu: Check = async () => {
  const { findQemu } = await import('@coracle/vm');
  return ok(findQemu({}));
};

const virtiofsd: Check = async () => {
  const { findVirtiofsd } = await import('@coracle/vm');
  const path = findVirtiofsd({});
  if (path !== undefined) return ok(path);
  const remedy = 'apt-get install qemu-system-common (Debian 12) or virtiofsd (Debian 13, Ubuntu, Fedora).';
  return { verdict: 'warning', detail: 'not there: only guest kernels with 9p can share files', remedy };
};

const image: Check = async ({ image: directory }) => {
  const { openImage } = await import('@coracle/vm');
  openImage(directory);
  return ok(directory);
};

const accelerator: Check = async ({ image: directory, accel }, progress) => {
  const { createQemuDriver } = await import('@coracle/vm');
  const decision = await createQemuDriver({ accel }).describe(directory, { onProgress: progress });
  const detail = `${decision.accel === 'kvm' ? 'KVM' : 'emulation (TCG)'}: ${decision.reason}`;
  if (decision.accel === 'kvm') return ok(detail);
  return {
    verdict: 'warning',
    detail,
    ...(decision.remedy === undefined ? {} : { remedy: decision.remedy }),
  };
};

const transport: Check = async ({ image: directory, transport: setting, template }) => {
  const { decideTransport, openImage } = await import('@coracle/vm');
  const wanted = setting === 'vsock' || setting === 'virtio-serial' ? setting : 'auto';
  const { transport: chosen, reason } = decideTransport(
    wanted,
    openImage(directory),
    undefined,
    template !== 'off',
  );
  // Without vsock nothing is missing: a virtio-serial port does the same.
  return ok(`${chosen}: ${reason}`);
};

const programs: Check = async () => {
  const names = ['bin/coracle-proxy', 'bin/coracle-shim', 'bin/coracle-names', 'bin/coracle-start-proxy'];
  const absent = names.filter((name) => !existsSync(join(installation(), name)));
  if (absent.length === 0) return ok(names.join(', '));
  return { verdict: 'missing', detail: `not built: ${absent.join(', ')}`, remedy: 'make build' };
};

const memory: Check = async () => {
  const { defaultMemoryBytes, guestOverheadBytes, hostSize } = await import('@coracle/vm');
  const { availableBytes } = hostSize();
  const wanted = defaultMemoryBytes + guestOverheadBytes;
  const detail = `${mebibytes(availableBytes)} available (${mebibytes(freemem())} free)`;
  if (availableBytes >= wanted) return ok(detail);
  return {
    verdict: 'warning',
    detail: `${detail}; a container without a limit gets up to ${mebibytes(wanted)}`,
    remedy: 'Free memory, or give containers a memory limit.',
  };
};

const runFolder: Check = async ({ runDirectory }) => {
  let path = runDirectory;
  while (!existsSync(path) && path !== dirname(path)) path = dirname(path);
  accessSync(path, constants.W_OK | constants.X_OK);
  if (!statSync(path).isDirectory()) throw new Error(`${path} is not a folder`);
  checkRunDirectory(runDirectory);
  return ok(path === runDirectory ? runDirectory : `${runDirectory} (will be made)`);
};

const remedies: Readonly<Record<string, string>> = {
  run: 'Run as root, or set CORACLE_RUN to a folder of your own.',
};

const all: readonly (readonly [name: string, check: Check])[] = [
  ['node', node],
  ['programs', programs],
  ['qemu', qemu],
  ['virtiofsd', virtiofsd],
  ['image', image],
  ['accelerator', accelerator],
  ['transport', transport],
  ['memory', memory],
  ['run', runFolder],
];

export async function runChecks(
  settings: Settings,
  progress: (text: string) => void,
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  // One after the other: the trial boot wants the machine for itself.
  for (const [name, check] of all) {
    progress(`checking ${name}`);
    results.push({
      name,
      ...(await check(settings, progress).catch((error: unknown) => failed(name, error))),
    });
  }
  const driver: VmDriver['name'] = settings.driver;
  if (driver === 'local') {
    results.push({
      name: 'driver',
      verdict: 'warning',
      detail: 'CORACLE_DRIVER=local: containers have no VM and nothing is isolated',
    });
  }
  return results;
}

function failed(name: string, error: unknown): Omit<CheckResult, 'name'> {
  // A VmError's message ends with its remedy, on a line of its own.
  const remedy = (error as { remedy?: string }).remedy ?? remedies[name];
  const detail = messageOf(error).split('\n')[0] ?? '';
  const fallsBack = ['kvm-unusable', 'vsock-unusable'].includes(errnoCode(error) ?? '');
  const verdict = fallsBack ? 'warning' : 'missing';
  return { verdict, detail, ...(remedy === undefined ? {} : { remedy }) };
}
