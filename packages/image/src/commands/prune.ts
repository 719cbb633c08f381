import { pruneCache } from '../cache/prune.ts';
import { ImageError } from '../errors.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { describeEntry, entryTable } from './list.ts';
import { formatBytes } from './text.ts';

export const prune: Command = {
  usage: 'prune [--all | --keep N] [--dry-run] [--json]',
  summary: 'remove from the cache what was not used for 30 days',
  options: {
    '--all': 'remove everything',
    '--keep N': 'keep the N images and the N kernels that were last used, whatever their age',
    '--dry-run': 'only say what would be removed',
    '--json': 'print what was removed',
  },
  async run(args) {
    const { values } = parseCommand(args, [], {
      ...jsonOption,
      all: { type: 'boolean', default: false },
      keep: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
    });
    if (values.all && values.keep !== undefined) throw new ImageError('usage', 'either --all or --keep N');
    if (values.keep !== undefined && !/^\d+$/.test(values.keep)) {
      throw new ImageError('usage', `--keep takes a number, not ${values.keep}`);
    }
    const dryRun = values['dry-run'];
    const { removed, freedBytes, inUse } = await pruneCache({
      all: values.all,
      ...(values.keep === undefined ? {} : { keep: Number(values.keep) }),
      dryRun,
    });
    if (values.json) {
      printJson({ dryRun, freedBytes, removed: removed.map(describeEntry), inUse: inUse.map(describeEntry) });
      return 0;
    }
    const [would, things] = [dryRun ? 'would free' : 'freed', removed.length === 1 ? 'thing' : 'things'];
    printLines([
      ...entryTable(removed),
      `${would} ${formatBytes(freedBytes)} (${removed.length} ${things})`,
      ...(inUse.length > 0 ? [`left ${inUse.length} that a running build uses`] : []),
    ]);
    return 0;
  },
};
