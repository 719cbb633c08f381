/**
 * How far a guest came, read from its console: the firmware and the kernel's loader announce themselves; an initrd, if
 * there is one, and the agent print `coracle-boot: <stage>` as each stage begins, and `coracle-boot: failed: <why>` when
 * they give up (packages/image, packages/agent). A kernel that mounts the root by itself says only what goes wrong.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { vmPaths } from './directory.ts';
import { VmError } from './errors.ts';
import { readRecord } from './record.ts';

export const bootStages = ['firmware', 'kernel', 'initrd', 'modules', 'root', 'agent'] as const;
export type BootStage = (typeof bootStages)[number];

export const stageMarker = 'coracle-boot: ';

export interface BootReport {
  /** The last stage that was entered; undefined when not even the firmware spoke. */
  readonly stage: BootStage | undefined;
  /** The initrd's own reason, if it gave one. */
  readonly failure: string | undefined;
  readonly consoleLines: readonly string[];
  readonly qemuLines: readonly string[];
  readonly accel: 'kvm' | 'tcg' | undefined;
}

const shownLines = 20;
/** A hostile guest may have written gigabytes: only the ends of the logs are read. */
const readBytes = 65_536;

/** Never throws: a missing log is an empty one. */
export function bootReport(directory: string): BootReport {
  const paths = vmPaths(directory);
  const console = readEnds(paths.console);
  let accel: BootReport['accel'];
  try {
    accel = readRecord(directory)?.accel;
  } catch {}
  return {
    ...parseConsole(console),
    qemuLines: lastLines(readEnds(paths.qemuLog)),
    accel,
  };
}

export function parseConsole(console: string): Pick<BootReport, 'stage' | 'failure' | 'consoleLines'> {
  const text = plainText(console);
  const seen = (stage: BootStage) =>
    text.includes(`${stageMarker}${stage}`) || (signs[stage]?.test(text) ?? false);
  return {
    stage: bootStages.findLast(seen),
    failure: failures.map((pattern) => pattern.exec(text)?.[1]).find((reason) => reason !== undefined),
    consoleLines: lastLines(text),
  };
}

const signs: Partial<Record<BootStage, RegExp>> = {
  firmware: /SeaBIOS/,
  kernel: /Booting from ROM|Linux version/,
  root: /Unable to mount root|Waiting for root device|device-mapper: (verity|init)/,
  agent: /Requested init \S+ failed|Attempted to kill init/,
};

/** What says why, the first that is there. */
const failures: readonly RegExp[] = [
  /coracle-boot: failed: (.*)/,
  // The first line names the block; what follows from it is a panic.
  /(device-mapper: verity: .*)/,
  /Kernel panic - not syncing: (.*)/,
];

/** Why the guest did not come up, whole, for stderr. */
export function describeBoot(report: BootReport): string {
  const { stage, failure, consoleLines, qemuLines } = report;
  const parts = [`stage reached: ${stage ?? 'none (the firmware said nothing)'}`];
  if (failure !== undefined) parts.push(`the guest says: ${failure}`);
  if (consoleLines.length > 0)
    parts.push('last lines of the console:', ...consoleLines.map((line) => `  | ${line}`));
  if (qemuLines.length > 0) parts.push('QEMU says:', ...qemuLines.map((line) => `  | ${line}`));
  return parts.join('\n');
}

/** A VM that did not come up. `report` has what is known; the message contains all of it. */
export class VmStartError extends VmError {
  override readonly name = 'VmStartError';
  readonly report: BootReport;

  constructor(code: 'start-failed' | 'boot-failed', what: string, report: BootReport, cause?: unknown) {
    super(code, `${what}\n${describeBoot(report)}`, { remedy: bootRemedy(report), cause });
    this.report = report;
  }
}

/** For whoever waited for the agent in vain: `what` says for what and how long. */
export function bootFailure(directory: string, what: string, cause?: unknown): VmStartError {
  return new VmStartError('boot-failed', what, bootReport(directory), cause);
}

export function bootRemedy(report: BootReport): string {
  const qemu = report.qemuLines.join('\n');
  for (const [pattern, remedy] of qemuRemedies) if (pattern.test(qemu)) return remedy;
  for (const [pattern, remedy] of failureRemedies) if (pattern.test(report.failure ?? '')) return remedy;
  return stageRemedies[report.stage ?? 'none'](report);
}

const qemuRemedies: readonly (readonly [RegExp, string])[] = [
  [
    /cannot (set up|allocate) .*memory|Cannot allocate memory/i,
    'The host has too little memory: give the container a smaller limit, or free some.',
  ],
  [
    /Could not access KVM.*Permission denied/i,
    'Run as root, or add the user to the group kvm; or set accel = "tcg".',
  ],
  [/failed to initialize kvm/i, 'KVM does not work here: set accel = "auto" or "tcg".'],
  [
    /could not load kernel|linux kernel too old|invalid kernel header|error reading/i,
    'The kernel in the image is damaged: build the image again with `make image`.',
  ],
  [/No space left on device/i, 'The disk with the state folder is full.'],
  [
    /terminating on signal|Killed/i,
    'Somebody ended QEMU. If it was the kernel for want of memory, `dmesg` says so.',
  ],
];

const rebuild = 'Build the guest image again with `make image`.';
const failureRemedies: readonly (readonly [RegExp, string])[] = [
  [
    /device-mapper: verity/,
    `The image's root filesystem was changed after it was built: \`coracle-image verify\` says where. ${rebuild}`,
  ],
  [/^boot hook /, "The image's own boot hook failed: mend it in the image's recipe."],
];
const slow = 'If the host is merely slow, allow the boot more time.';
const stageRemedies: Record<BootStage | 'none', (report: BootReport) => string> = {
  none: () => 'QEMU did not run the guest at all. `coracle doctor` checks the installation.',
  firmware: ({ accel }) =>
    accel === 'kvm'
      ? 'KVM does not boot guests on this host (broken nested virtualisation does this): set accel = "tcg".'
      : `The firmware could not start the kernel. ${rebuild}`,
  kernel: ({ accel }) =>
    accel === 'kvm'
      ? `The kernel hung or crashed: set accel = "tcg" to see whether KVM is at fault. ${slow}`
      : `The kernel hung or crashed early, or its file is damaged. ${rebuild} ${slow}`,
  initrd: () => `The kernel runs; the initrd did not get as far as loading its modules. ${rebuild} ${slow}`,
  modules: () => `A kernel module was not loaded: the initrd does not fit the kernel. ${rebuild}`,
  root: () => `The root disk was not found or not mounted. ${rebuild}`,
  agent: () => `The agent was started and did not answer. ${slow} The console above has its last words.`,
};

function readEnds(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = fstatSync(fd);
    const piece = (position: number) => {
      const buffer = Buffer.alloc(Math.min(size - position, readBytes));
      return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, position));
    };
    return size <= readBytes ? piece(0) : `${piece(0)}\n[...]\n${piece(size - readBytes)}`;
  } finally {
    closeSync(fd);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for.
const escapeSequence = /\u001b(\[[0-9;?=]*[A-Za-z]|[a-zA-Z])/g;

/** Without the firmware's terminal codes, and nothing that could steer the terminal it is shown on. */
function plainText(text: string): string {
  return text
    .replaceAll(escapeSequence, '')
    .replaceAll('\r', '')
    .replaceAll(/[^\n\t\u0020-\u007e\u00a0-\uffff]/g, '');
}

function lastLines(text: string): string[] {
  return plainText(text)
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-shownLines);
}
