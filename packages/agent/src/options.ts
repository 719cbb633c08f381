/** What the agent was told: by the kernel's command line in a guest, by arguments in the local tier. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { parseArgs } from 'node:util';
import { type LinkAddress, parseLinkAddress } from '@coracle/sys';
import { AGENT_LIMITS, type AgentLimits } from './limits.ts';
import { type GuestLink, parseGuestLink } from './link-guest.ts';

export interface LocalOptions {
  /** Everything the agent keeps is below this folder. */
  readonly stateFolder: string;
  /** As the host side dials it. */
  readonly link: LinkAddress;
  readonly limits: AgentLimits;
}

/** What pid 1 of a guest goes by. */
export interface GuestOptions {
  /** How a guest is linked; a word that is wrong throws when the boot has come that far, where the host sees it. */
  link(): GuestLink;
  /** Known once /proc is mounted. */
  logLevel(): string | undefined;
  /** The VM is to be saved as a template (docs/templates.md). */
  template(): boolean;
  /** Everything the agent keeps is below this folder. */
  readonly stateFolder: string;
}

export const guestOptions: GuestOptions = {
  link: () => parseGuestLink(kernelArgument('coracle.link')),
  logLevel: () => kernelArgument('coracle.log'),
  template: () => kernelArgument('coracle.template') === '1',
  stateFolder: '/run/coracle',
};

const USAGE =
  'usage: agent --local --link PATH|ADDRESS --state DIR [--max-processes N] [--max-exec-records N]   (without arguments only as pid 1 of a guest)';

/** @throws Error with the usage for arguments that make no sense */
export function readLocalOptions(args: readonly string[]): LocalOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      local: { type: 'boolean' },
      link: { type: 'string' },
      state: { type: 'string' },
      'max-processes': { type: 'string', default: String(AGENT_LIMITS.maxProcesses) },
      'max-exec-records': { type: 'string', default: String(AGENT_LIMITS.maxExecRecords) },
    },
  });
  if (values.local !== true) throw new Error(`this process is not pid 1 of a guest; ${USAGE}`);
  const { link, state } = values;
  if (link === undefined || state === undefined) throw new Error(`--link and --state are needed; ${USAGE}`);
  // crun runs with another working directory.
  if (!isAbsolute(state)) throw new Error('--state must be an absolute path');
  return {
    link: isAbsolute(link) ? { kind: 'unix', path: link } : parseLinkAddress(link, '/'),
    stateFolder: state,
    limits: {
      maxProcesses: countOf(values['max-processes']),
      maxExecRecords: countOf(values['max-exec-records']),
    },
  };
}

function countOf(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`${JSON.stringify(text)} is no number from 1 to 999999`);
  return Number(text);
}

function kernelArgument(name: string): string | undefined {
  try {
    const words = readFileSync('/proc/cmdline', 'utf8').trim().split(/\s+/);
    return words.findLast((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  } catch {
    // /proc is not mounted yet: the initrd that does it failed, and the boot table says so next.
    return undefined;
  }
}
