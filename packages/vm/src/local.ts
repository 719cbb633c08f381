import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { formatLinkAddress, type LinkAddress, VSOCK_CID_LOCAL, writeLinkRecord } from '@coracle/sys';
import { spawnDetached } from './detached.ts';
import { checkSocketPath, type VmPaths, vmPaths } from './directory.ts';
import type { VmDriver } from './driver.ts';
import { VmError } from './errors.ts';
import { waitReady } from './ready.ts';
import type { VmRecord } from './record.ts';
import { writeRecord } from './record.ts';
import { agentVsockPort } from './transport.ts';
import { eraseVm, vmFromRecord } from './vm.ts';

/**
 * An agent lives long and starts many processes. On a host with many CPUs and much memory, V8 lets its young generation
 * grow to 100 MiB and more of what is not used any more, and malloc keeps pages for each thread: 12,000 execs took an
 * agent from 110 to 226 MiB, with 8 MiB in use. With these two it stays at 114.
 */
const youngGeneration = '--max-semi-space-size=8';

export interface LocalDriverOptions {
  /** The agent's entry file, run as `node ENTRY --local --link ADDRESS --state DIR/agent`. */
  readonly agentEntry: string;
  /** What carries the link; a unix socket unless given. `vsock` needs the module vsock_loopback. */
  readonly transport?: LinkAddress['kind'];
}

/**
 * Runs the agent as a plain process of this host. **It isolates nothing**: there is no VM, containers
 * are processes of the host as with any plain runtime, memory and vCPUs are not limited, shares are not
 * made. It exists for quick tests of what lies above the VM.
 */
export function createLocalDriver({ agentEntry, transport = 'unix' }: LocalDriverOptions): VmDriver {
  return {
    name: 'local',
    async start({ directory }, { signal } = {}) {
      signal?.throwIfAborted();
      if (!existsSync(agentEntry)) {
        throw new VmError('agent-missing', `the agent ${agentEntry} is not there`, {
          remedy: 'Build it: `make build`.',
        });
      }
      const paths = vmPaths(directory);
      const state = join(directory, 'agent');
      const address = addressOf(transport, paths);
      mkdirSync(state, { recursive: true, mode: 0o700 });
      const base: VmRecord = {
        version: 1,
        driver: 'local',
        state: 'starting',
        createdAt: new Date().toISOString(),
        transport,
        shares: [],
        helpers: {},
      };
      writeRecord(directory, base);
      try {
        const agent = await spawnDetached({
          file: execPath,
          args: [youngGeneration, agentEntry, '--local', '--link', argumentOf(address), '--state', state],
          logPath: paths.agentLog,
          owner: directory,
          env: { MALLOC_ARENA_MAX: '1' },
        });
        writeRecord(directory, { ...base, main: agent.identity });
        if (address.kind !== 'unix') writeLinkRecord(directory, { address, process: agent.identity });
        // The agent listens under another name first and renames: the file's name means that it listens. Of other
        // addresses it says so by a file.
        const ready = address.kind === 'unix' ? paths.link : join(state, 'ready');
        await waitReady(agent, () => existsSync(ready), 'the local agent', paths.agentLog, signal);
        const record: VmRecord = { ...base, main: agent.identity, state: 'running' };
        writeRecord(directory, record);
        return vmFromRecord(directory, record, agent.child);
      } catch (error) {
        await eraseVm(directory);
        throw signal?.aborted === true ? signal.reason : error;
      }
    },
  };
}

/** On one machine agents differ by port: one out of 2^31, above those that need a privilege. */
function addressOf(kind: LinkAddress['kind'], paths: VmPaths): LinkAddress {
  switch (kind) {
    case 'unix':
      return { kind, path: checkSocketPath(paths.link) };
    case 'hybrid':
    case 'hybrid-listen':
      checkSocketPath(paths.hybridListen(agentVsockPort));
      return { kind, path: paths.hybrid, port: agentVsockPort };
    case 'vsock':
      return { kind, cid: VSOCK_CID_LOCAL, port: randomInt(2 ** 16, 2 ** 31) };
  }
}

const argumentOf = (address: LinkAddress): string =>
  address.kind === 'unix' ? address.path : formatLinkAddress(address);
