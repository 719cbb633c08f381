/** Flags that `create` and `run` share, and one that `exec` has too. */
import { CliError } from './errors.ts';
import type { OptionSpecs } from './options.ts';

export const consoleOptions = {
  'console-socket': {
    type: 'string',
    value: 'PATH',
    help: "unix socket that is sent the master of the container's terminal",
  },
  'pid-file': { type: 'string', value: 'FILE', help: 'file to write the process id to' },
  'preserve-fds': {
    type: 'string',
    value: 'N',
    help: 'only 0: descriptors cannot be passed into a virtual machine',
  },
} as const satisfies OptionSpecs;

export const createOptions = {
  bundle: { type: 'string', short: 'b', value: 'DIR', help: 'folder with config.json (default: .)' },
  ...consoleOptions,
  'no-pivot': { type: 'boolean', help: "accepted; the guest's root is never on a ramdisk" },
  'no-new-keyring': { type: 'boolean', help: "accepted; keyrings are the guest's" },
} as const satisfies OptionSpecs;

/** @throws CliError */
export function checkPreserveFds(text: string | undefined): void {
  if (text === undefined || text === '0') return;
  if (!/^\d+$/.test(text)) throw new CliError(`--preserve-fds takes a number, not ${JSON.stringify(text)}`);
  throw new CliError(
    `--preserve-fds ${text} cannot be done: a descriptor of this host means nothing inside the virtual machine; ` +
      'leave the flag out, or pass the data through a mount',
  );
}
