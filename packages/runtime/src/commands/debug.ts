import { CliError } from '../cli/errors.ts';
import { print, printError } from '../cli/output.ts';
import { command } from '../command.ts';
import { writeArchive } from '../debug/archive.ts';
import { type Collected, collectParts, summary } from '../debug/collect.ts';
import { Secrets } from '../debug/secrets.ts';
import { findTarget } from '../debug/target.ts';

const CAPTURE_SECONDS = '2';

export default command({
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      help: 'the archive (default: coracle-debug-ID.tar.gz)',
    },
    seconds: { type: 'string', value: 'N', help: 'capture frames for so long (default: 2; 0: not at all)' },
  },
  positionals: [1, 1],
  async run({ output, seconds = CAPTURE_SECONDS }, [id = ''], { store, settings }) {
    const captureMs = Number(seconds) * 1000;
    if (!(captureMs >= 0 && captureMs <= 3_600_000))
      throw new CliError(`--seconds ${seconds} is no number of seconds`);
    const target = findTarget(id, store, settings);
    const path = output ?? `coracle-debug-${id}.tar.gz`;
    const context = { target, settings, root: store.root, captureMs };
    const collected = await collectParts(context, new Secrets(target.state), tell);
    const had = collected.flatMap(({ file, content }) => (content === undefined ? [] : [{ file, content }]));
    await writeArchive(path, `coracle-debug-${id}`, [
      { file: 'summary.txt', content: summary(id, collected) },
      ...had,
    ]);
    print(`${path}\n`);
  },
});

function tell({ what, content, missing }: Collected): void {
  printError(content === undefined ? `  missing  ${what}: ${missing}\n` : `  got      ${what}\n`);
}
