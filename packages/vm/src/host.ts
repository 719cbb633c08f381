import { accessSync, constants, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { getResourceLimit } from '@coracle/sys';
import { searchPath } from './detached.ts';
import { VmError } from './errors.ts';

/** Where the programs are; each can be set, else it is looked for. */
export interface HostPrograms {
  readonly qemu?: string;
  readonly virtiofsd?: string;
}

export function findExecutable(candidates: readonly string[]): string | undefined {
  for (const path of candidates) {
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {}
  }
  return undefined;
}

function onPath(name: string): string[] {
  return [
    ...(process.env.PATH ?? '').split(':').filter((folder) => folder.startsWith('/')),
    ...searchPath.split(':'),
  ].map((folder) => join(folder, name));
}

/** @throws VmError `qemu-missing`. */
export function findQemu(programs: HostPrograms): string {
  const name = 'qemu-system-x86_64';
  const found = findExecutable(programs.qemu === undefined ? onPath(name) : [programs.qemu]);
  if (found !== undefined) return found;
  throw new VmError(
    'qemu-missing',
    `QEMU is not there: no executable ${programs.qemu ?? `${name} on the PATH`}`,
    {
      remedy:
        'Install it: apt-get install qemu-system-x86 (Debian, Ubuntu), dnf install qemu-system-x86-core (Fedora).',
    },
  );
}

/** virtiofsd is not on the PATH by design: it is QEMU's helper. Undefined when it is missing. */
export function findVirtiofsd(programs: HostPrograms): string | undefined {
  if (programs.virtiofsd !== undefined) return findExecutable([programs.virtiofsd]);
  return findExecutable(['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd', ...onPath('virtiofsd')]);
}

/**
 * Whether this virtiofsd has `-o timeout`: the C program that came with QEMU up to 7.2 has, the one in Rust
 * refuses it. Read off the program's option table (tools/virtiofsd/passthrough_ll.c), since asking costs a process.
 */
export function takesTimeout(virtiofsd: string): boolean {
  return readFileSync(virtiofsd).includes('timeout=%lf');
}

/** Stands for one installed QEMU without running it: another version is another file. */
export function fileIdentity(path: string): string {
  const real = realpathSync(path);
  const stat = statSync(real);
  return `${real}:${stat.size}:${stat.mtimeMs}`;
}

/** Whether this process has a capability, by its bit (linux/capability.h). */
export function hasCapability(bit: number): boolean {
  const status = readFileSync('/proc/self/status', 'latin1');
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${capabilities}`) >> BigInt(bit)) & 1n) === 1n;
}

/**
 * virtiofsd holds one descriptor for each file the guest knows. Its own default, a million, needs
 * CAP_SYS_RESOURCE (bit 24, linux/capability.h); without that our hard limit is all there is.
 */
export function maxOpenFiles(): number {
  const wanted = 1_000_000;
  if (hasCapability(24)) {
    return Math.min(wanted, Number(readFileSync('/proc/sys/fs/nr_open', 'latin1')));
  }
  const { hard } = getResourceLimit(0, 'nofile');
  return hard === 'unlimited' || hard > wanted ? wanted : Number(hard);
}
