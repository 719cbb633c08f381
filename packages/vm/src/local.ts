import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { spawnDetached } from './detached.ts';
import { checkSocketPath, vmPaths } from './directory.ts';
import type { VmDriver } from './driver.ts';
import { VmError } from './errors.ts';
import { waitReady } from './ready.ts';
import type { VmRecord } from './record.ts';
import { writeRecord } from './record.ts';
import { eraseVm, vmFromRecord } from './vm.ts';

export interface LocalDriverOptions {
  /** The agent's entry file, run as `node ENTRY --local --link DIR/link.sock --state DIR/agent`. */
  readonly agentEntry: string;
}

/**
 * Runs the agent as a plain process of this host. **It isolates nothing**: there is no VM, containers
 * are processes of the host as with any plain runtime, memory and vCPUs are not limited, shares are not
 * made. It exists for quick tests of what lies above the VM.
 */
export function createLocalDriver({ agentEntry }: LocalDriverOptions): VmDriver {
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
      mkdirSync(state, { recursive: true, mode: 0o700 });
      const base: VmRecord = {
        version: 1,
        driver: 'local',
        state: 'starting',
        createdAt: new Date().toISOString(),
        shares: [],
        helpers: {},
      };
      writeRecord(directory, base);
      try {
        const agent = await spawnDetached({
          file: execPath,
          args: [agentEntry, '--local', '--link', checkSocketPath(paths.link), '--state', state],
          logPath: paths.agentLog,
          owner: directory,
        });
        writeRecord(directory, { ...base, main: agent.identity });
        // The agent listens under another name first and renames: the file's name means that it listens.
        await waitReady(agent, () => existsSync(paths.link), 'the local agent', paths.agentLog, signal);
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
