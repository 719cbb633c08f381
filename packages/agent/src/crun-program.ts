/** How crun is called here: where it is, and with which options that all calls share. */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { close, decodeWaitStatus, openStream, pipe2 } from '@coracle/sys';
import type { Reaper } from './reaper.ts';

export interface CrunProgram {
  /** Path of crun itself. */
  readonly file: string;
  /** argv up to crun's command; argv[0] is a path. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Whether it lies at the same addresses in each run. Containers' own programs never do. */
  readonly fixedAddresses: boolean;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** linux/magic.h */
const CGROUP2_SUPER_MAGIC = 0x63677270;
const HYBRID = '/sys/fs/cgroup/unified';

/** @throws Error when there is no crun */
export function findCrun(stateFolder: string, local: boolean): CrunProgram {
  const crun = findProgram('crun');
  const options = [
    '--root',
    join(stateFolder, 'crun'),
    `--cgroup-manager=${local ? 'disabled' : 'cgroupfs'}`,
  ];
  const prefix = local && hasMixedCgroups() ? hidingMixedCgroups() : [];
  return {
    file: crun,
    argv: [...prefix, crun, ...options],
    env: { PATH, ...ownerMark() },
    fixedAddresses: !local && addressesAreKnown(),
  };
}

/**
 * An emulated guest (packages/vm, command.ts). QEMU 7.2 translates a program anew when it lies elsewhere: 5,000 pieces of
 * crun and its libraries, a quarter of an exec.
 */
function addressesAreKnown(): boolean {
  return readFileSync('/proc/cmdline', 'utf8').split(/\s+/).includes('nokaslr');
}

/**
 * In the local tier nothing dies with the agent, so crun carries the mark by which whoever ends the "VM" finds what
 * belongs to it (packages/vm/src/identity.ts); a guest's agent has none.
 */
function ownerMark(): Record<string, string> {
  const owner = process.env.CORACLE_VM;
  return owner === undefined ? {} : { CORACLE_VM: owner };
}

/** @throws Error when it is nowhere on the path */
export function findProgram(name: string): string {
  for (const folder of PATH.split(':')) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  throw new Error(`there is no ${name} in ${PATH}; on Debian it is in the package of that name`);
}

/**
 * Cgroup v1 with a v2 mount that has controllers: crun refuses to work there, with cgroups disabled too
 * ("cgroups in hybrid mode not supported", src/libcrun/cgroup.c).
 */
function hasMixedCgroups(): boolean {
  try {
    if (statfsSync('/sys/fs/cgroup').type === CGROUP2_SUPER_MAGIC) return false;
    return readFileSync(join(HYBRID, 'cgroup.controllers'), 'utf8').trim() !== '';
  } catch {
    return false;
  }
}

/** A shell in a mount namespace of its own, where that mount is gone, becomes crun. */
function hidingMixedCgroups(): string[] {
  const script = `umount -l ${HYBRID} && exec "$0" "$@"`;
  return [findProgram('unshare'), '--mount', findProgram('sh'), '-c', script];
}

const withOomScore = 'echo "$1" 2>/dev/null > /proc/self/oom_score_adj; shift; exec "$@"';

/**
 * crun applies `oomScoreAdj` to a container's first process and not to what is exec'ed (1.8, src/libcrun/container.c). A
 * process has what its parent had, so crun itself is given it.
 */
export function withOomScoreAdj(args: readonly string[], score: number | undefined): readonly string[] {
  if (score === undefined || score === 0) return args;
  return [findProgram('sh'), '-c', withOomScore, 'sh', String(score), ...args];
}

/** Asked only when somebody wants to know: a process more is much at boot. */
export async function crunVersion({ file: crun, env }: CrunProgram, reaper: Reaper): Promise<string> {
  const pipe = pipe2();
  const ended = reaper.run({
    file: crun,
    args: [crun, '--version'],
    env,
    descriptors: { 1: pipe.write, 2: pipe.write },
  });
  close(pipe.write);
  const [output, waitStatus] = await Promise.all([text(openStream(pipe.read)), ended]);
  const status = decodeWaitStatus(waitStatus);
  if (status.kind !== 'exited' || status.code !== 0)
    throw new Error(`${crun} --version failed: ${output.trim()}`);
  return /crun version (\S+)/.exec(output)?.[1] ?? 'unknown';
}
