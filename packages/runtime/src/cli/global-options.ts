import { defaultRoot } from '../host/settings.ts';
import type { OptionSpecs } from './options.ts';

export const globalOptions = {
  root: {
    type: 'string',
    value: 'DIR',
    help: `folder for the state of containers (default: ${defaultRoot})`,
  },
  log: {
    type: 'string',
    value: 'FILE',
    help: 'file to append errors to, for engines (stderr has them in any case)',
  },
  'log-format': { type: 'string', value: 'FORMAT', help: 'text (default) or json' },
  debug: { type: 'boolean', help: 'log what is done, and show where errors come from' },
  'systemd-cgroup': {
    type: 'boolean',
    help: 'linux.cgroupsPath is slice:prefix:name, whose folders are made without systemd',
  },
  rootless: { type: 'string', value: 'BOOL', help: 'accepted for engines that give it; has no effect' },
  criu: { type: 'string', value: 'PATH', help: 'accepted for engines that give it; has no effect' },
  help: { type: 'boolean', short: 'h', help: 'show this text' },
  version: { type: 'boolean', short: 'v', help: 'print the version' },
} as const satisfies OptionSpecs;
