/**
 * Docker's name server, 127.0.0.11, for a VM: on the host it listens in the container's network namespace only. There
 * coracle-names asks it what the agent hears at that address in the guest; between them is a coracle-shim, as for any process.
 *
 *   agent ══ link ══ proxy ══ coracle-shim ──pipes── coracle-names ──► 127.0.0.11:53 ──► dockerd
 *                             └ our namespace        └ the container's
 */
import { openSync, readFileSync } from 'node:fs';
import type { Sandbox } from '@coracle/client';
import { close, inNetworkNamespace, pipe2, spawn } from '@coracle/sys';
import { insideCgroups } from '@coracle/vm';
import { cgroupFolders, cgroupOf } from '../cgroup/cgroup.ts';
import { identify, isAlive, killAndWait, type ProcessIdentity } from '../container/process-identity.ts';
import { startShim } from '../container/shim.ts';
import type { ContainerState } from '../container/state.ts';
import { program } from '../host/settings.ts';
import { environment, proxyOf } from '../sandbox/proxy.ts';

const ADDRESS = '127.0.0.11';
const PORT = 53;
/** As /proc/net/udp writes it. Docker listens on a port of its own, and has the packet filter bend 53 to it. */
const LISTENS = /^ *\d+: 0B00007F:/m;

/** In the calling thread's namespace. */
export function hasNameServer(): boolean {
  return LISTENS.test(readFileSync('/proc/thread-self/net/udp', 'latin1'));
}

/** Both, or neither is of use. */
export interface NamesProcesses {
  readonly shim: ProcessIdentity;
  readonly names: ProcessIdentity;
}

export function isServed(processes: NamesProcesses | undefined): boolean {
  return processes !== undefined && isAlive(processes.shim) && isAlive(processes.names);
}

/** They would end with the VM, a moment later. */
export async function endNames({ shim, names }: NamesProcesses): Promise<void> {
  await killAndWait(shim);
  await killAndWait(names);
}

/**
 * The processes end with the VM.
 * @param namespace a path
 * @throws CliError, SysError, RpcError
 */
export async function serveNames(
  state: ContainerState,
  sandbox: Sandbox,
  namespace: string,
): Promise<NamesProcesses> {
  const handle = await sandbox.forwardNames(ADDRESS);
  const cgroups = cgroupFolders(cgroupOf(state.sandboxDirectory));
  const queries = pipe2();
  const answers = pipe2();
  const nothing = openSync('/dev/null', 'r+');
  try {
    const names = startNames(namespace, cgroups, [queries.read, answers.write, nothing]);
    const shim = await startShim({
      proxy: proxyOf(state),
      sandboxId: state.sandboxId,
      process: handle,
      name: `name server of container ${state.id}`,
      console: { kind: 'pipes' },
      stdio: [answers.read, queries.write, nothing],
      stdin: true,
      command: ['coracle-names', state.id],
      cgroups,
    });
    return { shim: shim.identity, names };
  } finally {
    for (const fd of [queries.read, queries.write, answers.read, answers.write, nothing]) close(fd);
  }
}

function startNames(
  namespace: string,
  cgroups: readonly string[],
  [stdin, stdout, stderr]: readonly [number, number, number],
): ProcessIdentity {
  const file = program('coracle-names');
  const args = insideCgroups(cgroups, [file, ADDRESS, String(PORT)]);
  const descriptors = { 0: stdin, 1: stdout, 2: stderr };
  const pid = inNetworkNamespace(namespace, () =>
    spawn({ file: args[0] ?? file, args, env: environment(), cwd: '/', descriptors, newSession: true }),
  );
  return identify(pid) ?? { pid, startTicks: -1 };
}
