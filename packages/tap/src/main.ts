#!/usr/bin/env node
import { cast } from './commands/cast.ts';
import type { Command } from './commands/command.ts';
import { decode } from './commands/decode.ts';
import { diagnose } from './commands/diagnose.ts';
import { follow } from './commands/follow.ts';
import { live } from './commands/live.ts';
import { record } from './commands/record.ts';
import { replay } from './commands/replay.ts';
import { report as reportPage } from './commands/report.ts';
import { show } from './commands/show.ts';
import { stats } from './commands/stats.ts';
import { TapError } from './errors.ts';
import { printable, table } from './words/text.ts';

const commands = new Map<string, Command>(
  Object.entries({
    live,
    record,
    show,
    stats,
    follow,
    diagnose,
    report: reportPage,
    cast,
    decode,
    replay,
  }),
);

const usage = `Usage: ${[...commands.values()].map((command) => `coracle-tap ${command.usage}`).join('\n       ')}
`;

function overview(): string {
  const rows = [...commands.values()].map(({ usage: one, summary }) => [
    `  ${one.split(' ', 1)[0]}`,
    summary,
  ]);
  return `${usage}\n${table(rows).join('\n')}\n\nFILE is a capture in pcapng, or - for stdin. 'coracle-tap COMMAND --help' says more.\n`;
}

function help({ usage: one, summary, options, exitCodes }: Command): string {
  const rows = table(Object.entries(options).map(([option, what]) => [`  ${option}`, what]));
  const codes = exitCodes === undefined ? [] : ['', `Exit codes: ${exitCodes}, 130 interrupted.`];
  return [
    `Usage: coracle-tap ${one}`,
    '',
    `${summary}.`,
    ...(rows.length > 0 ? [''] : []),
    ...rows,
    ...codes,
    '',
  ].join('\n');
}

/** @returns the exit code: 0 done, 1 failed, 2 used wrongly, 130 interrupted; `diagnose` has its own */
async function main(args: string[]): Promise<number> {
  const [name = '', ...rest] = args;
  if (['', '-h', '--help', 'help'].includes(name)) {
    if (name === '') process.stderr.write(usage);
    else process.stdout.write(overview());
    return name === '' ? 2 : 0;
  }
  const command = commands.get(name);
  if (!command) return report(new TapError('usage', `there is no command ${name}`));
  if (rest.some((word) => word === '--help' || word === '-h')) {
    process.stdout.write(help(command));
    return 0;
  }
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt.abort());
  try {
    return await command.run(rest, interrupt.signal);
  } catch (error) {
    if (interrupt.signal.aborted) return 130;
    return report(error, command);
  }
}

function report(error: unknown, command?: Command): number {
  if (!(error instanceof TapError)) {
    process.stderr.write(`coracle-tap: ${error instanceof Error ? error.stack : error}\n`);
    return 1;
  }
  process.stderr.write(`coracle-tap: ${printable(error.message)}\n`);
  if (error.code !== 'usage') return 1;
  process.stderr.write(command ? `Usage: coracle-tap ${command.usage}\n` : usage);
  return 2;
}

// Whoever reads our output may have seen enough, as `head` has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

process.exitCode = await main(process.argv.slice(2));
