import { resolve } from 'node:path';
import { CliError, messageOf, QuietExit, UsageError } from './cli/errors.ts';
import { globalOptions } from './cli/global-options.ts';
import { Log, type LogFormat } from './cli/log.ts';
import { parseOptions } from './cli/options.ts';
import { print, printError } from './cli/output.ts';
import type { Context } from './command.ts';
import { commands } from './commands.ts';
import { StateStore } from './container/state.ts';
import { defaultRoot, readSettings, type Settings } from './host/settings.ts';

const help = { help: { type: 'boolean', short: 'h', help: 'show this text' } } as const;

async function main(args: readonly string[]): Promise<number> {
  // Until the flags are read, errors go to stderr only.
  let log = new Log({ format: 'text', debug: false });
  let debug = false;
  try {
    const { values, positionals } = parseOptions(args, globalOptions, { stopAtPositional: true });
    debug = values.debug === true;
    log = new Log({ path: values.log, format: logFormat(values['log-format']), debug });
    const context = () =>
      makeContext({ root: values.root, log, systemdCgroup: values['systemd-cgroup'] === true });
    if (values.version === true) return await runCommand('version', [], context());
    const [name, ...rest] = positionals;
    if (values.help === true || name === undefined || name === 'help') {
      const { mainUsage } = await import('./cli/usage.ts');
      print(mainUsage());
      return 0;
    }
    return await runCommand(name, rest, context());
  } catch (error) {
    return report(error, log, debug);
  }
}

function makeContext({
  root,
  ...given
}: Pick<Context, 'log' | 'systemdCgroup'> & { root: string | undefined }): Context {
  let settings: Settings | undefined;
  return {
    ...given,
    store: new StateStore(resolve(root ?? defaultRoot)),
    get settings() {
      settings ??= readSettings();
      return settings;
    },
  };
}

async function runCommand(name: string, args: readonly string[], context: Context): Promise<number> {
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (entry === undefined) {
    throw new CliError(`there is no command ${JSON.stringify(name)}; coracle --help lists them`, {
      exitCode: 3,
    });
  }
  const { default: command } = await entry.load();
  const usage = async () => (await import('./cli/usage.ts')).commandUsage(name, entry, command);
  try {
    const { stopAtPositional = false, positionals: counts } = command;
    const { values, positionals } = parseOptions(args, { ...command.options, ...help }, { stopAtPositional });
    if (values.help === true) {
      print(await usage());
      return 0;
    }
    const [min, max] = counts;
    if (positionals.length < min || positionals.length > max) {
      const wanted =
        min === max ? `exactly ${min}` : positionals.length < min ? `at least ${min}` : `at most ${max}`;
      throw new UsageError(`"${name}" requires ${wanted} argument(s), not ${positionals.length}`);
    }
    return (await command.run(values, positionals, context)) ?? 0;
  } catch (error) {
    if (error instanceof UsageError) printError(`${await usage()}\n`);
    throw error;
  }
}

function logFormat(word: string | undefined): LogFormat {
  if (word === undefined || word === '') return 'text';
  if (word === 'text' || word === 'json') return word;
  throw new CliError(`unknown log format ${JSON.stringify(word)}: give text or json`);
}

function report(error: unknown, log: Log, debug: boolean): number {
  if (error instanceof QuietExit) return error.exitCode;
  log.error(messageOf(error));
  if (debug && error instanceof Error) log.debug(error.stack ?? '');
  return error instanceof CliError ? error.exitCode : 1;
}

// Everything is written and undone by now; sockets that still say goodbye would hold us up.
process.exit(await main(process.argv.slice(2)));
