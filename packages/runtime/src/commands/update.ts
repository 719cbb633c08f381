import { cgroupOf, writeSettings } from '../cgroup/cgroup.ts';
import { hostSettings } from '../cgroup/limits.ts';
import { CliError } from '../cli/errors.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { statusOf } from '../container/status.ts';
import { askContainer } from '../sandbox/agent.ts';
import { checkFits, mergeResources, requestedResources } from '../spec/resources.ts';

export default command({
  options: {
    resources: { type: 'string', short: 'r', value: 'FILE', help: 'linux.resources as JSON; - is stdin' },
    memory: { type: 'string', value: 'BYTES', help: 'limit, such as 512m; -1 is none' },
    'memory-reservation': {
      type: 'string',
      value: 'BYTES',
      help: 'what it is left with when memory is scarce',
    },
    'memory-swap': { type: 'string', value: 'BYTES', help: 'memory and swap together' },
    'cpu-quota': { type: 'string', value: 'US', help: 'CPU time in each period' },
    'cpu-period': { type: 'string', value: 'US', help: 'length of a period (default: 100000)' },
    'cpu-burst': { type: 'string', value: 'US', help: 'CPU time that may be saved up' },
    'cpu-share': { type: 'string', value: 'N', help: 'weight beside other containers' },
    'cpu-idle': { type: 'string', value: '0|1', help: 'run only when nothing else does' },
    'cpuset-cpus': { type: 'string', value: 'LIST', help: "this host's CPUs for the virtual machine" },
    'cpuset-mems': {
      type: 'string',
      value: 'LIST',
      help: "this host's memory nodes for the virtual machine",
    },
    'pids-limit': { type: 'string', value: 'N', help: 'processes and threads; -1 is no limit' },
    'blkio-weight': { type: 'string', value: 'N', help: 'weight for disks, 10 to 1000' },
    'cpu-rt-period': { type: 'string', value: 'US', help: 'accepted; has no effect' },
    'cpu-rt-runtime': { type: 'string', value: 'US', help: 'accepted; has no effect' },
    'kernel-memory': { type: 'string', value: 'BYTES', help: 'accepted; has no effect, as with runc' },
    'kernel-memory-tcp': { type: 'string', value: 'BYTES', help: 'accepted; has no effect, as with runc' },
    'l3-cache-schema': { type: 'string', value: 'TEXT', help: 'refused: a virtual machine has no Intel RDT' },
    'mem-bw-schema': { type: 'string', value: 'TEXT', help: 'refused: a virtual machine has no Intel RDT' },
  },
  positionals: [1, 1],
  async run(values, [id = ''], { store, log }) {
    checkContainerId(id);
    for (const flag of ['l3-cache-schema', 'mem-bw-schema'] as const) {
      if (values[flag] !== undefined && values[flag] !== '') {
        throw new CliError(
          `cannot update container ${id}: --${flag} is of Intel RDT, which a VM does not have`,
        );
      }
    }
    for (const flag of ['cpu-rt-period', 'cpu-rt-runtime', 'kernel-memory', 'kernel-memory-tcp'] as const) {
      if (values[flag] !== undefined && values[flag] !== '') log.warning(`--${flag} has no effect`);
    }
    const change = requestedResources(values);
    using _lock = await store.lock(id);
    const state = store.read(id);
    const status = statusOf(state);
    if (status === 'stopped' || status === 'creating') {
      throw new CliError(`cannot update container ${id}: container not running: it is ${status}`);
    }
    const { readRecord } = await import('@coracle/vm');
    const { memoryBytes, vcpus } = readRecord(state.sandboxDirectory) ?? {};
    const wanted = mergeResources(state.resources, change);
    // The local driver has no VM, and no cgroups either: its agent says so.
    if (memoryBytes !== undefined && vcpus !== undefined) checkFits(wanted, { memoryBytes, vcpus }, id);
    await askContainer(state, `cannot update container ${id}`, async (container) => {
      if (change.memory?.checkBeforeUpdate === true) {
        const usage = Number((await container.stats()).memory?.usageBytes ?? 0n);
        const limit = change.memory.limit ?? -1;
        if (limit > 0 && limit < usage) {
          throw new CliError(`unable to set memory limit to ${limit}: it uses ${usage} bytes`);
        }
      }
      await container.update(change);
    });
    writeSettings(cgroupOf(state.sandboxDirectory), (version) => hostSettings(version, change));
    store.write({ ...state, resources: wanted });
  },
});
