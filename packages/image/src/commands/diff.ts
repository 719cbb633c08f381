import { type Difference, diffImages, type ImageDiff } from '../look/diff.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { formatBytes, formatGrowth, printable, style } from './text.ts';

export const diff: Command = {
  usage: 'diff A B [--json]',
  summary: 'show what is different between two images',
  options: { '--json': 'print all differences with sizes, modes and digests' },
  exitCodes: '0 the same, 1 different, 2 trouble or wrong usage',
  failedCode: 2,
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['A', 'B'], jsonOption);
    const found = await diffImages(positionals[0] ?? '', positionals[1] ?? '', { signal });
    if (values.json) printJson(found);
    else printLines(describe(found));
    return found.same ? 0 : 1;
  },
};

function describe(found: ImageDiff): string[] {
  const { settings, packages, kernelOptions, imageFiles, paths } = found;
  const sections: [title: string, lines: string[]][] = [
    ['Settings', settings.map((one) => line(one, (value) => value || 'none'))],
    ['Packages', packages.map((one) => line(one, ({ version }) => version, digestOf))],
    ['Kernel options', shorten((kernelOptions ?? []).map((one) => line(one, (value) => value)))],
    [
      'Files',
      imageFiles.map((one) => line(one, ({ sizeBytes }) => formatBytes(sizeBytes), digestOf, growth(one))),
    ],
    [`In the root${rootGrowth(paths)}`, paths.map(pathLine)],
  ];
  return sections
    .filter(([, lines]) => lines.length > 0)
    .flatMap(([title, lines]) => [style('bold', title), ...lines]);
}

/** Kernels of different origin have nothing in common. */
const optionsAtMost = 40;

function shorten(lines: string[]): string[] {
  const hidden = lines.length - optionsAtMost;
  return hidden <= 0
    ? lines
    : [...lines.slice(0, optionsAtMost), `  and ${hidden} more: --json has them all`];
}

/** @param digest shown where the text is the same in both */
function line<T>(
  { name, from, to }: Difference<T>,
  text: (value: T) => string,
  digest: (value: T) => string = () => '',
  note = '',
): string {
  const plain = printable(name);
  if (from === null) return style('green', `  + ${plain}  ${to === null ? '' : printable(text(to))}`);
  if (to === null) return style('red', `  - ${plain}  ${printable(text(from))}`);
  const [before, after] = [printable(text(from)), printable(text(to))];
  if (before !== after) return `  ~ ${plain}  ${before} → ${after}${note}`;
  return `  ~ ${plain}  ${before}, sha256 ${digest(from).slice(0, 12)} → ${digest(to).slice(0, 12)}`;
}

function growth({ from, to }: Difference<{ sizeBytes: number }>): string {
  return from && to ? ` (${formatGrowth(to.sizeBytes - from.sizeBytes)})` : '';
}

function digestOf({ sha256 }: { sha256: string }): string {
  return sha256;
}

type Path = ImageDiff['paths'][number];

function rootGrowth(paths: readonly Path[]): string {
  const bytes = paths.reduce((sum, { from, to }) => sum + sizeOf(to) - sizeOf(from), 0);
  return bytes === 0 ? '' : ` (${formatGrowth(bytes)})`;
}

function sizeOf(entry: Path['from']): number {
  return entry?.type === 'file' ? entry.sizeBytes : 0;
}

function pathLine(path: Path): string {
  const { from, to } = path;
  const named = { ...path, name: `/${path.name}` };
  if (!from || !to || from.type !== to.type) return line(named, describeEntry);
  const changes: string[] = [];
  if (from.mode !== to.mode) changes.push(`mode ${from.mode} → ${to.mode}`);
  if (from.type === 'symlink' && to.type === 'symlink' && from.target !== to.target) {
    changes.push(`link to ${from.target} → ${to.target}`);
  }
  if (from.type === 'file' && to.type === 'file') {
    if (from.sizeBytes !== to.sizeBytes) {
      changes.push(
        `${formatBytes(from.sizeBytes)} → ${formatBytes(to.sizeBytes)}${growth({ name: '', from, to })}`,
      );
    }
    if (from.sha256 !== to.sha256)
      changes.push(`sha256 ${from.sha256.slice(0, 12)} → ${to.sha256.slice(0, 12)}`);
  }
  if (JSON.stringify(from.origin) !== JSON.stringify(to.origin)) changes.push('from elsewhere');
  return `  ~ ${printable(`${named.name}  ${changes.join(', ')}`)}`;
}

function describeEntry(entry: NonNullable<Path['from']>): string {
  if (entry.type === 'file') return `${entry.mode} ${formatBytes(entry.sizeBytes)}`;
  return entry.type === 'symlink' ? `link to ${entry.target}` : `${entry.mode} folder`;
}
