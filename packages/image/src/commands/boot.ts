import { writeFile } from 'node:fs/promises';
import type { BootReport } from '../boot/boot-image.ts';
import { ImageError } from '../errors.ts';
import { stderrProgress } from '../progress.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { printable, style, table } from './text.ts';

const shownInitcalls = 20;

export const boot: Command = {
  usage:
    'boot IMAGE [--profile] [--memory] [--vms N] [--initcalls] [--runs N] [--ram MIB] [--svg FILE] [--json]',
  summary: "start an image's VM and show where each millisecond and each megabyte goes",
  options: {
    '--profile': "from QEMU's start to the agent's hello, as bars; what is done without another option",
    '--memory': 'what the guest has in use when it is idle, and what its QEMU takes of the host',
    '--vms N': 'for --memory: VMs at once, to see what they share; default 1',
    '--initcalls': `boot once more with the kernel's own trace: its ${shownInitcalls} slowest initcalls`,
    '--runs N': 'boots for --profile; default 3',
    '--ram MIB': "the VM's memory; default 256",
    '--svg FILE': 'also draw the profile as a picture',
    '--json': 'print everything measured, all initcalls among it',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['IMAGE'], {
      ...jsonOption,
      profile: { type: 'boolean', default: false },
      memory: { type: 'boolean', default: false },
      initcalls: { type: 'boolean', default: false },
      vms: { type: 'string' },
      runs: { type: 'string' },
      ram: { type: 'string' },
      svg: { type: 'string' },
    });
    const memory = values.memory || values.vms !== undefined;
    const asked = values.profile || values.svg !== undefined || values.runs !== undefined;
    const profile = asked || !(memory || values.initcalls);
    const runs = countOf('--runs', values.runs ?? '3', 100);
    const vms = countOf('--vms', values.vms ?? '1', 100);
    const ram = countOf('--ram', values.ram ?? '256', 1 << 20);
    // Only here: QEMU's driver and the wire cost every other command a start.
    const { bootImage } = await import('../boot/boot-image.ts');
    const report = await bootImage(positionals[0] ?? '', {
      runs: profile ? runs : 0,
      vms: memory ? vms : 0,
      initcalls: values.initcalls,
      vmMemoryBytes: ram * 1024 * 1024,
      signal,
      progress: stderrProgress(),
    });
    if (values.svg !== undefined) await writePicture(report, values.svg);
    if (values.json) printJson(report);
    else printLines(await describe(report));
    return 0;
  },
};

function countOf(option: string, text: string, most: number): number {
  if (/^[1-9]\d{0,6}$/.test(text) && Number(text) <= most) return Number(text);
  throw new ImageError('usage', `${option} takes a number from 1 to ${most}, not ${text}`);
}

async function writePicture(report: BootReport, file: string): Promise<void> {
  const { drawSvg } = await import('../boot/svg.ts');
  const { profile } = report;
  if (profile === undefined) return;
  try {
    await writeFile(file, drawSvg({ ...report, profile }));
  } catch (cause) {
    throw new ImageError('output-refused', `cannot write ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function describe(report: BootReport): Promise<string[]> {
  const { drawChart } = await import('../boot/chart.ts');
  const { describeImage } = await import('../boot/describe.ts');
  const { memoryLines } = await import('../boot/memory-table.ts');
  const sections = [
    report.profile ? [style('bold', "QEMU's start to the agent's hello"), ...drawChart(report.profile)] : [],
    report.initcalls ? initcallLines(report.initcalls) : [],
    memoryLines(report),
  ].filter((lines) => lines.length > 0);
  return [
    `${style('bold', printable(report.manifest.name))}  ${describeImage(report)}`,
    ...sections.flatMap((lines) => ['', ...lines]),
  ];
}

function initcallLines(initcalls: NonNullable<BootReport['initcalls']>): string[] {
  const wholeMs = initcalls.reduce((sum, { microseconds }) => sum + microseconds, 0) / 1000;
  return [
    style('bold', `Slowest of ${initcalls.length} initcalls, ${wholeMs.toFixed(0)} ms in all`),
    ...table(
      initcalls
        .slice(0, shownInitcalls)
        .map(({ name, microseconds }) => [`  ${name}`, `${(microseconds / 1000).toFixed(1)} ms`]),
      [1],
    ),
  ];
}
