#!/usr/bin/env node
import { boot } from './commands/boot.ts';
import { build } from './commands/build.ts';
import { cat } from './commands/cat.ts';
import type { Command } from './commands/command.ts';
import { diff } from './commands/diff.ts';
import { inspect } from './commands/inspect.ts';
import { kernel } from './commands/kernel.ts';
import { list } from './commands/list.ts';
import { lock } from './commands/lock.ts';
import { ls } from './commands/ls.ts';
import { prune } from './commands/prune.ts';
import { sbom } from './commands/sbom.ts';
import { printable, table } from './commands/text.ts';
import { verify } from './commands/verify.ts';
import { ImageError } from './errors.ts';

const commands = new Map<string, Command>(
  Object.entries({ build, kernel, boot, inspect, diff, verify, ls, cat, sbom, lock, list, prune }),
);

const usage = `Usage: ${[...commands.values()].map((command) => `coracle-image ${command.usage}`).join('\n       ')}
`;

function overview(): string {
  const rows = [...commands.values()].map(({ usage: one, summary }) => [
    `  ${one.split(' ', 1)[0]}`,
    summary,
  ]);
  return `${usage}\n${table(rows).join('\n')}\n\n'coracle-image COMMAND --help' says more.\n`;
}

function help({ usage: one, summary, options, exitCodes }: Command): string {
  const rows = table(Object.entries(options).map(([option, what]) => [`  ${option}`, what]));
  const codes = exitCodes === undefined ? [] : ['', `Exit codes: ${exitCodes}, 130 interrupted.`];
  return [
    `Usage: coracle-image ${one}`,
    '',
    `${summary}.`,
    ...(rows.length > 0 ? [''] : []),
    ...rows,
    ...codes,
    '',
  ].join('\n');
}

/** @returns the exit code: 0 done, 1 failed, 2 used wrongly, 130 interrupted; `diff` has its own. */
async function main(args: string[]): Promise<number> {
  const [name = '', ...rest] = args;
  if (['', '-h', '--help', 'help'].includes(name)) {
    if (name === '') process.stderr.write(usage);
    else process.stdout.write(overview());
    return name === '' ? 2 : 0;
  }
  const command = commands.get(name);
  if (!command) return report(new ImageError('usage', `there is no command ${name}`));
  const end = rest.indexOf('--');
  if (rest.slice(0, end < 0 ? rest.length : end).some((word) => word === '--help' || word === '-h')) {
    process.stdout.write(help(command));
    return 0;
  }
  const interrupt = new AbortController();
  // Not `once`: an impatient second Ctrl-C must not stop the tidying up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupt.abort());
  }
  try {
    return await command.run(rest, interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) return report(error, command);
    return report(new ImageError('interrupted', 'interrupted; nothing was left behind'));
  }
}

function report(error: unknown, command?: Command): number {
  const failed = command?.failedCode ?? 1;
  if (!(error instanceof ImageError)) {
    process.stderr.write(`coracle-image: ${error instanceof Error ? error.stack : error}\n`);
    return failed;
  }
  process.stderr.write(`coracle-image: ${printable(error.message)}\n`);
  if (error.code !== 'usage') return error.code === 'interrupted' ? 130 : failed;
  process.stderr.write(command ? `Usage: coracle-image ${command.usage}\n` : usage);
  return 2;
}

// Whoever reads our output may have seen enough, as `head` has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

process.exitCode = await main(process.argv.slice(2));
