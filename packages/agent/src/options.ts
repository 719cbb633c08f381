/** What the agent was told: by the kernel's command line in a guest, by arguments in the local tier. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { parseArgs } from 'node:util';

export interface LocalOptions {
  /** The unix socket to listen on. */
  readonly linkPath: string;
}

export interface AgentOptions {
  /** Undefined in a guest. */
  readonly local: LocalOptions | undefined;
  /** Everything the agent keeps is below this folder. */
  readonly stateFolder: string;
  readonly logLevel: string | undefined;
}

const USAGE = 'usage: agent --local --link PATH --state DIR   (without arguments only as pid 1 of a guest)';

/** @throws Error with the usage for arguments that make no sense */
export function readOptions(args: readonly string[]): AgentOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { local: { type: 'boolean' }, link: { type: 'string' }, state: { type: 'string' } },
  });
  if (values.local !== true) {
    if (process.pid !== 1) throw new Error(`this process is not pid 1; ${USAGE}`);
    return {
      local: undefined,
      stateFolder: '/run/coracle',
      logLevel: process.env.CORACLE_LOG ?? kernelArgument('coracle.log'),
    };
  }
  const { link, state } = values;
  if (link === undefined || state === undefined) throw new Error(`--link and --state are needed; ${USAGE}`);
  // crun runs with another working directory.
  if (!isAbsolute(state) || !isAbsolute(link)) throw new Error('--link and --state must be absolute paths');
  return { local: { linkPath: link }, stateFolder: state, logLevel: process.env.CORACLE_LOG };
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
