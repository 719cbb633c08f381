#!/usr/bin/env node
import { build } from './commands/build.ts';
import { ImageError } from './errors.ts';

const commands: Record<string, { run: typeof build; usage: string }> = {
  build: {
    run: build,
    usage: 'build RECIPE --output DIR [--agent DIR] [--lock FILE] [--no-cache] [--update-missing] [--json]',
  },
};

const usage = `Usage: coracle-image ${Object.values(commands)
  .map((command) => command.usage)
  .join('\n       coracle-image ')}`;

/** @returns the exit code: 0 done, 1 failed, 2 used wrongly, 130 interrupted. */
async function main(args: string[]): Promise<number> {
  const [name = '', ...rest] = args;
  if (['', '-h', '--help', 'help'].includes(name)) {
    (name === '' ? process.stderr : process.stdout).write(`${usage}\n`);
    return name === '' ? 2 : 0;
  }
  const command = commands[name];
  if (!command) throw new ImageError('usage', `there is no command ${name}`);
  const interrupt = new AbortController();
  // Not `once`: an impatient second Ctrl-C must not stop the tidying up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupt.abort());
  }
  try {
    await command.run(rest, interrupt.signal);
    return 0;
  } catch (error) {
    if (interrupt.signal.aborted) throw new ImageError('interrupted', 'interrupted; nothing was left behind');
    throw error;
  }
}

function report(error: unknown): number {
  if (!(error instanceof ImageError)) {
    process.stderr.write(`coracle-image: ${error instanceof Error ? error.stack : error}\n`);
    return 1;
  }
  process.stderr.write(`coracle-image: ${error.message}\n`);
  if (error.code === 'usage') process.stderr.write(`${usage}\n`);
  return error.code === 'usage' ? 2 : error.code === 'interrupted' ? 130 : 1;
}

process.exitCode = await main(process.argv.slice(2)).catch(report);
