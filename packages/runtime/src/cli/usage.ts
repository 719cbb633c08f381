import type { Command } from '../command.ts';
import { type CommandEntry, commands } from '../commands.ts';
import { globalOptions } from './global-options.ts';
import { describeOptions } from './options.ts';
import { version } from './version.ts';

export function mainUsage(): string {
  const shown = Object.entries(commands).filter(([, { hidden }]) => hidden !== true);
  const width = Math.max(...shown.map(([name]) => name.length));
  return [
    'NAME:\n   coracle - OCI runtime that gives each container a virtual machine of its own\n\n',
    'USAGE:\n   coracle [global flags] COMMAND [flags] [arguments...]\n\n',
    `VERSION:\n   ${version}\n\n`,
    'COMMANDS:\n',
    ...shown.map(([name, { summary }]) => `   ${name.padEnd(width)}  ${summary}\n`),
    '\nGLOBAL FLAGS:\n',
    describeOptions(globalOptions),
    '\nA command with --help tells its flags. docs/cli.md has examples and the environment variables.\n',
  ].join('');
}

export function commandUsage(name: string, entry: CommandEntry, command: Command): string {
  const hasOptions = Object.keys(command.options).length > 0;
  const line = ['coracle', name, hasOptions ? '[flags]' : '', entry.usage].filter((word) => word !== '');
  return [
    `NAME:\n   coracle ${name} - ${entry.summary}\n\n`,
    `USAGE:\n   ${line.join(' ')}\n`,
    ...(hasOptions ? ['\nFLAGS:\n', describeOptions(command.options)] : []),
  ].join('');
}
