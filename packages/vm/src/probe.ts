import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { lockFile } from '@coracle/sys';
import type { KvmProbe } from './accel.ts';
import { stageMarker } from './boot.ts';
import { memoryArguments, rootArguments } from './command.ts';
import { searchPath } from './detached.ts';
import { fileIdentity } from './host.ts';
import type { VmImage } from './image.ts';

/** KVM that works gets there in well under a second, a nested or busy one in two. */
export const probeDeadlineMs = 5_000;

export interface ProbeOptions {
  readonly qemu: string;
  readonly image: Pick<VmImage, 'kernel' | 'initrd' | 'root' | 'kernelArguments' | 'bootDigest'>;
  readonly cacheDirectory?: string;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((message: string) => void) | undefined;
}

/** `$CORACLE_CACHE`, `$XDG_CACHE_HOME/coracle`, `~/.cache/coracle`, or for a user without a home /var/cache/coracle. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const absolute = (path: string | undefined) => (path !== undefined && isAbsolute(path) ? path : undefined);
  const own = absolute(env.CORACLE_CACHE);
  if (own !== undefined) return own;
  const shared = absolute(env.XDG_CACHE_HOME);
  if (shared !== undefined) return join(shared, 'coracle');
  const home = absolute(env.HOME);
  return home === undefined ? '/var/cache/coracle' : join(home, '.cache', 'coracle');
}

/**
 * The answer holds until something changes that it depends on: the host's kernel and this boot of it
 * (a live migration or a firmware setting needs one), QEMU, the guest's kernel.
 */
export function probeKey(qemu: string, bootDigest: string): string {
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  const facts = [release(), bootId, fileIdentity(qemu), bootDigest];
  return createHash('sha256').update(facts.join('\n')).digest('hex').slice(0, 32);
}

/** The cached answer, or that of a trial boot; two processes never probe at the same time. */
export async function probeKvm(options: ProbeOptions): Promise<KvmProbe> {
  const folder = join(options.cacheDirectory ?? cacheDirectory(), 'kvm');
  const path = join(folder, `${probeKey(options.qemu, options.image.bootDigest)}.json`);
  const known = readProbe(path);
  if (known !== undefined) return known;
  mkdirSync(folder, { recursive: true });
  const { signal } = options;
  using _lock = await lockFile(join(folder, 'lock'), signal === undefined ? {} : { signal });
  const meanwhile = readProbe(path);
  if (meanwhile !== undefined) return meanwhile;
  options.onProgress?.(
    `trying whether KVM boots a guest (once per host boot, at most ${probeDeadlineMs / 1000} s)`,
  );
  const probe = await trialBoot(options);
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(probe)}\n`);
  renameSync(`${path}.${process.pid}`, path);
  return probe;
}

function readProbe(path: string): KvmProbe | undefined {
  try {
    const { boots, detail } = JSON.parse(readFileSync(path, 'utf8')) as KvmProbe;
    return typeof boots === 'boolean' ? { boots, detail } : undefined;
  } catch {
    return undefined; // not probed yet, or not readable: the probe tells
  }
}

/** Boots the real kernel under KVM until its first program speaks. Rejects only when aborted. */
export async function trialBoot(options: ProbeOptions): Promise<KvmProbe> {
  const { qemu, image, signal, deadlineMs = probeDeadlineMs } = options;
  signal?.throwIfAborted();
  const startedMs = performance.now();
  // setpriv(1) sees to it that QEMU dies with us, should we be killed while a hung guest runs.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', qemu, ...trialArguments(image)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { PATH: searchPath, LC_ALL: 'C' },
  });
  let console = '';
  let stderr = '';
  const outcome = await new Promise<'initrd' | 'deadline' | 'ended' | 'aborted' | Error>((resolve) => {
    const timer = setTimeout(resolve, deadlineMs, 'deadline');
    const onAbort = () => resolve('aborted');
    signal?.addEventListener('abort', onAbort);
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      console = (console + text).slice(-65_536);
      if (console.includes(stageMarker)) resolve('initrd');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-4096);
    });
    child.once('error', resolve);
    child.once('close', () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      resolve('ended');
    });
  });
  const tookMs = Math.round(performance.now() - startedMs);
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
  }
  if (outcome === 'aborted') throw signal?.reason;
  if (outcome instanceof Error) return { boots: false, detail: `could not be started: ${outcome.message}` };
  if (outcome === 'initrd') return { boots: true, detail: `reached the initrd after ${tookMs} ms` };
  const seen = console.includes('Linux version')
    ? 'in the kernel'
    : console.includes('SeaBIOS')
      ? 'after the firmware, before the kernel said anything'
      : 'before the firmware said anything';
  if (outcome === 'deadline') return { boots: false, detail: `hung ${seen} (given up after ${tookMs} ms)` };
  return {
    boots: false,
    detail: `ended ${seen}: ${stderr.trim().split('\n').at(-1) || 'QEMU gave no reason'}`,
  };
}

function trialArguments(image: ProbeOptions['image']): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'q35,usb=off,vmport=off,hpet=off,sata=off,smbus=off,smm=off,graphics=off'],
    ...['-accel', 'kvm', '-cpu', 'host', ...memoryArguments(256 << 20, image), '-sandbox', 'on'],
    ...['-kernel', image.kernel, ...(image.initrd === undefined ? [] : ['-initrd', image.initrd])],
    ...['-serial', 'stdio'],
    ...['-append', ['console=ttyS0 earlyprintk=ttyS0 panic=-1 reboot=t', ...image.kernelArguments].join(' ')],
    ...rootArguments(image),
  ];
}
