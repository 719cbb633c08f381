import { type Verification, verifyImage } from '../look/verify.ts';
import { stderrProgress } from '../progress.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { formatBytes, printable, style } from './text.ts';

export const verify: Command = {
  usage: 'verify IMAGE [--json]',
  summary: 'compare everything in an image with what it says of itself',
  options: { '--json': 'print the problems' },
  exitCodes: '0 the image is as it was built, 1 it is not, 2 wrong usage',
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['IMAGE'], jsonOption);
    const found = await verifyImage(positionals[0] ?? '', { signal, progress: stderrProgress() });
    const sound = found.problems.length === 0;
    if (values.json) printJson({ sound, ...found });
    else printLines(sound ? [summary(found)] : complaints(found));
    return sound ? 0 : 1;
  },
};

function summary({ folder, manifest, comparedPaths }: Verification): string {
  const files = Object.values(manifest.files);
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const tree = manifest.root.filesystem !== 'initramfs' && manifest.root.verity ? ', its hash tree' : '';
  const checked = `${files.length} files (${formatBytes(bytes)})${tree} and ${comparedPaths} paths in the root`;
  return `${style('green', 'ok')}  ${printable(folder)}: ${checked} are as they were built`;
}

function complaints({ folder, problems, skipped }: Verification): string[] {
  return [
    ...problems.map(({ message }) => `${style('red', 'bad')}  ${printable(message)}`),
    ...skipped.map((what) => `      ${printable(what)}`),
    `${printable(folder)} is not as it was built: ${problems.length === 1 ? '1 problem' : `${problems.length} problems`}`,
  ];
}
