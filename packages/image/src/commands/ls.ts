import { listImage } from '../look/look.ts';
import type { TreePath } from '../root/tree.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { printable, table } from './text.ts';

export const ls: Command = {
  usage: 'ls IMAGE [PATH] [--long] [--json]',
  summary: "list a folder of an image's root",
  options: {
    '--long': 'modes, sizes, and where links lead',
    '--json': 'print path, type, mode, size and link target',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['IMAGE', '[PATH]'], {
      ...jsonOption,
      long: { type: 'boolean', short: 'l', default: false },
    });
    const entries = await listImage(positionals[0] ?? '', positionals[1], { signal });
    if (values.json) printJson(entries.map((entry) => ({ ...entry, mode: octal(entry.mode) })));
    else if (values.long) printLines(table(entries.map(longRow), [1]));
    else printLines(entries.map(({ path }) => printable(nameOf(path))));
    return 0;
  },
};

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function longRow(entry: TreePath): string[] {
  const size = entry.type === 'file' ? String(entry.sizeBytes) : '';
  const arrow = entry.type === 'symlink' ? ` -> ${entry.target}` : '';
  return [symbolicMode(entry), size, `${nameOf(entry.path)}${arrow}`];
}

const typeLetters = { directory: 'd', file: '-', symlink: 'l' } as const;

/** As ls(1) writes it. */
function symbolicMode({ type, mode }: TreePath): string {
  const letters = [...'rwxrwxrwx'].map((letter, index) => (mode & (0o400 >> index) ? letter : '-'));
  for (const [bit, at, set, alone] of [
    [0o4000, 2, 's', 'S'],
    [0o2000, 5, 's', 'S'],
    [0o1000, 8, 't', 'T'],
  ] as const) {
    if (mode & bit) letters[at] = letters[at] === 'x' ? set : alone;
  }
  return typeLetters[type] + letters.join('');
}
