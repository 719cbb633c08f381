import { cacheFolder } from '../cache/cache.ts';
import { type CacheEntry, listCache } from '../cache/list.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { formatAge, formatBytes, style, table } from './text.ts';

export const list: Command = {
  usage: 'list [--json]',
  summary: 'show what the cache holds',
  options: { '--json': 'print kind, name, path, size and last use of each thing' },
  async run(args) {
    const { values } = parseCommand(args, [], jsonOption);
    const entries = await listCache();
    if (values.json) printJson(entries.map(describeEntry));
    else printLines(describe(entries));
    return 0;
  },
};

/** For programs. */
export function describeEntry({ usedMs, ...rest }: CacheEntry) {
  return { ...rest, lastUsed: new Date(usedMs).toISOString() };
}

export function entryTable(entries: readonly CacheEntry[]): string[] {
  return table(
    entries.map(({ kind, name, path, sizeBytes, usedMs }) => [
      `  ${kind}`,
      name,
      formatBytes(sizeBytes),
      formatAge(usedMs),
      (path.split('/').at(-1) ?? '').slice(0, 12),
    ]),
    [2, 3],
  );
}

function describe(entries: readonly CacheEntry[]): string[] {
  if (entries.length === 0) return [`${style('bold', cacheFolder())}: empty`];
  const bytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return [
    `${style('bold', cacheFolder())}: ${formatBytes(bytes)} in ${entries.length} ${entries.length === 1 ? 'thing' : 'things'}`,
    ...entryTable(entries),
  ];
}
