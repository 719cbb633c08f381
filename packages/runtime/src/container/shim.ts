/** Starting coracle-shim (packages/shim), which stands for one process of a container on the host. */
import { existsSync, fstatSync, openSync } from 'node:fs';
import { bytesReadable, close, openStream, pipe2, spawn, waitForExit, waitPid } from '@coracle/sys';
import { insideCgroups } from '@coracle/vm';
import { CliError, ExitCode } from '../cli/errors.ts';
import { program } from '../host/settings.ts';
import { type NetworkNamespace, startIn } from '../network/namespace.ts';
import { type ProxyPlace, starterEnvironment } from '../sandbox/proxy.ts';
import { type ConsolePlan, sendConsole } from './console.ts';
import { type MountView, withMountView } from './mount-view.ts';
import { identify, killAndWait, type ProcessIdentity } from './process-identity.ts';
import { containerVariable } from './shims.ts';

export interface ShimPlan {
  readonly proxy: ProxyPlace;
  readonly sandboxId: string;
  /** From CreateContainer or ExecProcess. */
  readonly process: { readonly process: number; readonly token: Uint8Array };
  /** For messages, such as `container web`. */
  readonly name: string;
  readonly console: ConsolePlan;
  /** Its 0, 1 and 2, without a terminal; ours unless given. */
  readonly stdio?: readonly [number, number, number];
  readonly stdin: boolean;
  /** Where it lives; ours unless given. */
  readonly network?: NetworkNamespace;
  /** A command that the shim runs when something has changed in that namespace. */
  readonly onNetworkChange?: readonly string[];
  /** What whoever enters its mount namespace sees; ours unless given. */
  readonly mounts?: MountView;
  /** Where the shim leaves how the process ended. */
  readonly exitFile?: string;
  /** The process's own command, which ps(1) shows in place of the shim's. */
  readonly command: readonly string[];
  /** Folders of the VM's cgroup on this host. */
  readonly cgroups: readonly string[];
  /** The container's state folder, by which the shims of its processes are found (shims.ts). */
  readonly container?: string;
}

export interface Shim {
  readonly identity: ProcessIdentity;
  /** Resolves with the wait status when the shim has ended; it is reaped then. */
  ended(): Promise<number>;
  kill(): Promise<void>;
}

const readyDescriptor = 3;
const consoleDescriptor = 4;
const firstHomeDescriptor = 5;
/** In util-linux, which is essential on Debian. */
const setpriv = '/usr/bin/setpriv';

/**
 * Starts the shim with our stdio, or with the terminal that the engine got, and waits until it is attached. Beside
 * such a terminal our own stdio must not live on in it: containerd's shim reads our output to its end before it
 * believes that the container was created.
 *
 * It gets a session of its own: signals from the terminal's keys then reach us alone, and we hand each on
 * once (foreground.ts). Reading and making raw a terminal of another session is not stopped by job control
 * (drivers/tty/tty_jobctrl.c). Where the terminal is ours, the shim must not outlive us: it would go on
 * reading what is typed at the shell.
 *
 * @throws CliError when it cannot be started or attached; it has told why on stderr itself then
 */
export async function startShim(plan: ShimPlan, signal?: AbortSignal): Promise<Shim> {
  signal?.throwIfAborted();
  const file = program('coracle-shim');
  const homes = homeNamespaces(plan);
  const args = [
    ...['--socket', plan.proxy.socketPath, '--sandbox', plan.sandboxId],
    ...['--process', String(plan.process.process), '--name', plan.name],
    ...['--ready-fd', String(readyDescriptor), '--start-proxy', program('coracle-start-proxy')],
    ...(plan.stdin ? ['--stdin'] : []),
    ...(plan.console.kind === 'pipes' ? [] : ['--terminal']),
    ...(plan.console.kind === 'socket' ? ['--console', String(consoleDescriptor)] : []),
    ...(plan.exitFile === undefined ? [] : ['--exit-file', plan.exitFile]),
    ...homes.flatMap((_, i) => ['--home', String(firstHomeDescriptor + i)]),
    ...(plan.onNetworkChange ?? []).flatMap((word) => ['--on-network', word]),
    ...['--', ...shown(plan.command)],
  ];
  const leash = plan.console.kind === 'ours' && existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : [];
  const slave =
    plan.console.kind === 'socket' ? sendConsole(plan.console.path, plan.console.size) : undefined;
  const [stdin, stdout, stderr] = slave === undefined ? (plan.stdio ?? [0, 1, 2]) : [slave, slave, slave];
  const ready = pipe2({ nonblockingRead: true });
  const command = insideCgroups(plan.cgroups, withMountView(plan.mounts, [...leash, file, ...args]));
  const homeDescriptors: number[] = [];
  let pid: number;
  try {
    for (const path of homes) homeDescriptors.push(openSync(path, 'r'));
    pid = startIn(plan.network ?? { kind: 'host' }, () =>
      spawn({
        file: command[0] ?? file,
        args: command,
        env: {
          ...starterEnvironment(plan.proxy),
          ...(plan.container === undefined ? {} : { [containerVariable]: plan.container }),
          CORACLE_TOKEN: Buffer.from(plan.process.token).toString('hex'),
        },
        cwd: '/',
        descriptors: {
          0: stdin,
          1: stdout,
          2: stderr,
          [readyDescriptor]: ready.write,
          ...Object.fromEntries(homeDescriptors.map((fd, i) => [firstHomeDescriptor + i, fd])),
          ...(slave === undefined ? {} : { [consoleDescriptor]: slave }),
        },
        newSession: true,
      }),
    );
  } catch (error) {
    close(ready.read);
    throw error;
  } finally {
    close(ready.write);
    homeDescriptors.forEach(close);
    if (slave !== undefined) close(slave);
  }
  const shim = shimOf(pid);
  try {
    await attached(ready.read, signal);
    return shim;
  } catch (error) {
    await shim.kill();
    throw error;
  }
}

/** Where what the shim starts belongs: it lives on, and would keep the container's network or root from ending. */
function homeNamespaces({ network, mounts }: ShimPlan): string[] {
  return [
    ...(network === undefined || network.kind === 'host' ? [] : ['/proc/thread-self/ns/net']),
    ...(mounts === undefined ? [] : ['/proc/thread-self/ns/mnt']),
  ];
}

/** As much of a command line as anybody looks at; a script of a megabyte would only cost memory. */
const shownBytes = 4096;

function shown(command: readonly string[]): string[] {
  let left = shownBytes;
  return command.flatMap((word) => {
    if (left <= 0) return [];
    const cut = word.slice(0, left);
    left -= Buffer.byteLength(cut) + 1;
    return [cut];
  });
}

function shimOf(pid: number): Shim {
  const identity = identify(pid) ?? { pid, startTicks: -1 };
  let status: Promise<number> | undefined;
  const ended = () => {
    status ??= waitForExit(pid).then(() => waitPid(pid) ?? 0);
    return status;
  };
  return {
    identity,
    ended,
    async kill() {
      await killAndWait(identity);
      await ended();
    },
  };
}

async function attached(fd: number, signal: AbortSignal | undefined): Promise<void> {
  const stream = openStream(fd);
  // A process that has been heard of already is not undone any more: the signal that aborts is its own.
  let answer = '';
  const onAbort = () => {
    if (answer === '' && bytesReadable(fd) === 0) stream.destroy(signal?.reason as Error);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    // The shim closes its end after the one line, whichever it is.
    for await (const chunk of stream) answer += chunk;
    if (answer === '1\n') return;
    throw new CliError(answer.trim().replace(/^coracle: /, '') || 'coracle-shim ended without a word', {
      exitCode: ExitCode.vmLost,
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    stream.destroy();
  }
}

/** Whether somebody may have something to say on our stdin: not when it is /dev/null (or was closed). */
export function wantsStdin(console: ConsolePlan): boolean {
  if (console.kind !== 'pipes') return true;
  const stat = fstatSync(0);
  // Major 1, minor 3 (Documentation/admin-guide/devices.txt).
  return !(stat.isCharacterDevice() && stat.rdev === ((1 << 8) | 3));
}
