/** linux.resources (runtime-spec config-linux.md) as the host looks at it: what an update asks, and whether the VM has it. */
import { readFileSync } from 'node:fs';
import { isLargeInteger, parseJson } from '@coracle/client';
import { guestOverheadBytes, type VmSize } from '@coracle/vm';
import { parseBytes } from '../cli/bytes.ts';
import { CliError, messageOf, UsageError } from '../cli/errors.ts';
import { jsonError } from '../cli/json-error.ts';
import { type Json, ShapeError } from './shape.ts';
import { type Resources, resourcesShape } from './spec.ts';

export interface UpdateFlags {
  readonly resources?: string | undefined;
  readonly 'blkio-weight'?: string | undefined;
  readonly 'cpu-period'?: string | undefined;
  readonly 'cpu-quota'?: string | undefined;
  readonly 'cpu-burst'?: string | undefined;
  readonly 'cpu-share'?: string | undefined;
  readonly 'cpu-idle'?: string | undefined;
  readonly 'cpuset-cpus'?: string | undefined;
  readonly 'cpuset-mems'?: string | undefined;
  readonly memory?: string | undefined;
  readonly 'memory-reservation'?: string | undefined;
  readonly 'memory-swap'?: string | undefined;
  readonly 'pids-limit'?: string | undefined;
}

/** What is to change. Zeros say nothing, as with runc. @throws CliError naming file and field, UsageError naming the flag */
export function requestedResources(flags: UpdateFlags): Resources {
  // As runc: with a file the flags are not looked at.
  if (flags.resources !== undefined && flags.resources !== '') return readResources(flags.resources);
  const number = (flag: keyof UpdateFlags) => parseNumber(flags[flag], flag);
  const bytes = (flag: keyof UpdateFlags) => {
    const text = flags[flag];
    if (text === undefined || text === '') return undefined;
    return text === '-1' ? -1 : parseBytes(text, flag);
  };
  const limit = bytes('memory');
  return withoutNothing({
    memory: {
      limit,
      reservation: bytes('memory-reservation'),
      // Without a limit on memory there is none on memory and swap together.
      swap: bytes('memory-swap') ?? (limit === -1 ? -1 : undefined),
    },
    cpu: {
      shares: number('cpu-share'),
      quota: number('cpu-quota'),
      period: number('cpu-period'),
      burst: number('cpu-burst'),
      idle: number('cpu-idle'),
      cpus: flags['cpuset-cpus'] || undefined,
      mems: flags['cpuset-mems'] || undefined,
    },
    pids: { limit: number('pids-limit') },
    blockIO: { weight: number('blkio-weight') },
  });
}

function parseNumber(text: string | undefined, flag: string): number | undefined {
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new UsageError(`invalid value for ${flag}: ${JSON.stringify(text)} is not a whole number`);
}

function readResources(path: string): Resources {
  const name = path === '-' ? 'the resources on standard input' : `the resources file ${path}`;
  let text: string;
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (cause) {
    throw new CliError(`cannot read ${name}: ${messageOf(cause)}`, { cause });
  }
  let value: Json;
  try {
    value = parseJson(text) as Json;
  } catch (error) {
    throw new CliError(`${name}: not JSON: ${jsonError(text, error as SyntaxError)}`);
  }
  try {
    resourcesShape(value, '');
  } catch (error) {
    if (error instanceof ShapeError) throw new CliError(`${name}: ${error.message}`);
    throw error;
  }
  return withoutNothing(value as unknown as Resources);
}

/** Without fields that are absent, null or zero, and without objects that are empty then. */
function withoutNothing(resources: object): Resources {
  const kept = Object.entries(resources).flatMap(([name, value]): [string, unknown][] => {
    if (value === undefined || value === null || value === 0 || value === '') return [];
    // A number too large for JavaScript is an object, too.
    if (typeof value !== 'object' || Array.isArray(value) || isLargeInteger(value)) return [[name, value]];
    const inner = withoutNothing(value);
    return Object.keys(inner).length === 0 ? [] : [[name, inner]];
  });
  return Object.fromEntries(kept) as Resources;
}

/** What is in force after `change`. */
export function mergeResources(now: Resources | undefined, change: Resources): Resources {
  return {
    ...now,
    ...change,
    memory: { ...now?.memory, ...change.memory },
    cpu: { ...now?.cpu, ...change.cpu },
  };
}

const mebibyte = 1024 * 1024;

/**
 * The size of a VM is given when it is made. A limit that it cannot hold is refused: it would be promised and not kept.
 * @param wanted what would be in force
 * @throws CliError
 */
export function checkFits(wanted: Resources, vm: VmSize, id: string): void {
  const limit = Number(wanted.memory?.limit ?? -1);
  const most = vm.memoryBytes - guestOverheadBytes;
  if (limit > most && !isUnlimited(limit)) {
    throw new CliError(
      `cannot update container ${id}: a memory limit of ${Math.ceil(limit / mebibyte)} MiB does not fit into its VM, which ` +
        `was made for ${Math.floor(most / mebibyte)} MiB and cannot grow; create the container anew with the larger limit`,
    );
  }
  const { quota = -1, period = defaultPeriodUs } = wanted.cpu ?? {};
  if (quota > period * vm.vcpus) {
    throw new CliError(
      `cannot update container ${id}: a quota of ${quota / period} CPUs does not fit into its VM, which was made with ` +
        `${vm.vcpus} vCPU${vm.vcpus === 1 ? '' : 's'}; create the container anew with the larger quota`,
    );
  }
}

/** Engines write "none" as cgroup v1 does: as the largest number that there is, rounded down to a page. */
const isUnlimited = (bytes: number): boolean => bytes >= 2 ** 60;
/** The kernel's own (Documentation/scheduler/sched-bwc.rst). */
const defaultPeriodUs = 100_000;
