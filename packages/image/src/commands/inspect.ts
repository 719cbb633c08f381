import { type Inspection, inspectImage } from '../look/inspect.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { bar, formatBytes, printable, style, table } from './text.ts';

const barColumns = 30;

export const inspect: Command = {
  usage: 'inspect IMAGE [--json]',
  summary: 'show what an image is made of and what takes space',
  options: { '--json': 'print manifest, sizes by origin, and the biggest files' },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['IMAGE'], jsonOption);
    const inspection = await inspectImage(positionals[0] ?? '', { signal });
    if (values.json) printJson(inspection);
    else printLines(describe(inspection));
    return 0;
  },
};

function describe(inspection: Inspection): string[] {
  const { folder, manifest, root, origins, biggestFiles } = inspection;
  const heading = (text: string) => ['', style('bold', text)];
  const share = (sizeBytes: number) => `${((sizeBytes / (root.sizeBytes || 1)) * 100).toFixed(1)} %`;
  return [
    `${style('bold', printable(manifest.name))}  ${printable(folder)}`,
    ...table(facts(inspection)),
    ...heading('Files'),
    ...table(
      Object.entries(manifest.files)
        .sort(([, a], [, b]) => b.sizeBytes - a.sizeBytes)
        .map(([name, file]) => [`  ${name}`, formatBytes(file.sizeBytes), file.sha256]),
      [1],
    ),
    ...heading(`What takes space in the root: ${formatBytes(root.sizeBytes)} in ${root.files} files`),
    ...withBars(
      origins.map(({ origin, version, sizeBytes, files }) => ({
        cells: [`  ${origin}`, version ?? '', count(files), formatBytes(sizeBytes), share(sizeBytes)],
        sizeBytes,
      })),
      [2, 3, 4],
    ),
    ...heading('Biggest files'),
    ...table(
      biggestFiles.map(({ path, sizeBytes, origin }) => [`  /${path}`, formatBytes(sizeBytes), origin]),
      [1],
    ),
  ];
}

function facts({ manifest }: Inspection): string[][] {
  const { kernel, versions, root } = manifest;
  const others = Object.entries(versions).filter(([name]) => name !== 'agent' && name !== 'kernel');
  return [
    ['  kernel', `${kernel.release}, ${kernel.origin === 'built' ? 'our own' : "Debian's"}, ${kernel.file}`],
    ['  arguments', kernel.arguments.join(' ') || 'none'],
    ['  modules', kernel.modules.join(' ') || 'none'],
    ['  on request', kernel.modulesOnRequest.join(' ') || 'none'],
    ['  root', describeRoot(root)],
    ['  versions', others.map(([name, version]) => `${name} ${version}`).join(', ')],
    ['  agent', versions.agent ?? 'unknown'],
    ['  inputs', manifest.inputs],
  ];
}

function describeRoot(root: Inspection['manifest']['root']): string {
  if (root.filesystem === 'initramfs') return 'initramfs, all in memory';
  const packed = root.compression === 'none' ? 'not compressed' : root.compression;
  const verity = root.verity ? `verity, root hash ${root.verity.rootHash}` : 'no verity';
  const device = root.device === 'pmem' ? "mapped from the host's memory (pmem)" : root.device;
  return `${root.filesystem}, ${packed}, ${device}, ${verity}`;
}

function count(files: number): string {
  return files === 1 ? '1 file' : `${files} files`;
}

function withBars(
  rows: readonly { cells: string[]; sizeBytes: number }[],
  right: readonly number[],
): string[] {
  const largest = Math.max(...rows.map(({ sizeBytes }) => sizeBytes));
  const lines = table(
    rows.map(({ cells }) => cells),
    right,
  );
  return lines.map((line, index) => {
    const drawn = bar(rows[index]?.sizeBytes ?? 0, largest, barColumns);
    return drawn ? `${line}  ${style('cyan', drawn)}` : line;
  });
}
