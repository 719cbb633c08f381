/**
 * What every sandbox does first, done once for nobody, from the host's end: a container of the guest's own programs, execs,
 * their input, their exits. A function is compiled when it is called first, a function of libc declared, and under
 * emulation each instruction is translated; that takes longer than what they do. Afterwards the VM is as it was before
 * (docs/protocol.md, "A rehearsal"): the container is gone, its numbers and tokens are never used again.
 */
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { Connection } from './connection.ts';
import { RpcError } from './errors.ts';
import { type FrameFields, FrameType } from './frame.ts';
import type { ProcessHandle } from './gen/coracle/v1/agent.ts';
import { STREAM_WINDOW_BYTES } from './limits.ts';
import { encodeAttach } from './payloads.ts';
import { Role } from './preamble.ts';
import { Requests } from './requests.ts';
import { StreamKind, streamId } from './streams.ts';

const SHARE = 'rehearsal';
const CONTAINER = 'rehearsal';
/** As much as the kernel's generator keeps of its pool (drivers/char/random.c). */
const ENTROPY_BYTES = 32;
const SIGCONT = 18;
const NOTHING = { delivered: 0, limit: STREAM_WINDOW_BYTES };

/**
 * @param transport to an agent that has no sandbox; it is closed
 * @param shares tags of what the host has plugged in, by virtiofs
 * @throws RpcError the agent's; why the link ended
 */
export async function rehearse(transport: Duplex, shares: readonly string[] = []): Promise<void> {
  // A port gives what is before the preamble in pieces. The other end may be in this process, and reads between turns.
  transport.write(Buffer.alloc(1));
  await setImmediate();
  await setImmediate();
  using host = new Host(transport);
  await host.opened;
  const { requests } = host;
  const sandbox = () => ({
    sandboxId: 'rehearsal',
    hostname: 'coracle',
    hostTimeNs: BigInt(Date.now()) * 1_000_000n,
    entropy: randomBytes(ENTROPY_BYTES),
    findDevices: true,
    rehearsal: true,
  });
  const share = (tag: string, type: string) => ({ tag, type, readonly: false, source: '' });
  await requests.call('getAgentDetails', {});
  // There is none of that name; but what looks for it is what mounts one.
  const inVain = requests.call('createSandbox', { ...sandbox(), shares: [share(SHARE, 'virtiofs')] });
  await inVain.catch(() => undefined);
  await requests.call('createSandbox', {
    ...sandbox(),
    shares: [share(SHARE, 'guest'), ...shares.map((tag) => share(tag, 'virtiofs'))],
  });
  await requests.call('updateNetwork', { interfaces: [], routes: [], neighbours: [] });
  const { process } = await requests.call('createContainer', {
    containerId: CONTAINER,
    config: Buffer.from(JSON.stringify(config(shares.length))),
    rootfsShare: SHARE,
    rootfsPath: '',
    bindSources: shares.map((tag, mount) => ({ mount, share: tag, path: '' })),
    stdin: true,
    columns: 0,
    rows: 0,
  });
  const init = host.attach(process as ProcessHandle);
  await requests.call('startContainer', { containerId: CONTAINER });
  for (const terminal of [false, true]) {
    const execId = `rehearsal-${terminal}`;
    const exec = await requests.call('execProcess', {
      containerId: CONTAINER,
      execId,
      process: Buffer.from(JSON.stringify(processOf(['busybox', 'echo', 'ready'], terminal))),
      stdin: true,
      columns: 80,
      rows: 24,
    });
    host.attach(exec.process as ProcessHandle);
    await requests.call('waitProcess', { containerId: CONTAINER, execId });
  }
  await requests.call('signalProcess', { containerId: CONTAINER, execId: '', signal: SIGCONT, all: false });
  init.send({ type: FrameType.DATA, offset: 0, payload: Buffer.from('\n') });
  init.send({ type: FrameType.EOF, offset: 1 });
  await requests.call('waitProcess', { containerId: CONTAINER, execId: '' });
  await requests.call('removeContainer', { containerId: CONTAINER, force: true });
  await requests.call('destroySandbox', {});
}

/** The other end of a link, as a proxy and its client have it together. */
class Host {
  readonly requests = new Requests();
  readonly opened: Promise<void>;
  readonly #connection: Connection;
  #generation = 1;

  constructor(transport: Duplex) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.opened = promise;
    const connection: Connection = new Connection(
      transport,
      { role: Role.proxy, opener: true, flush: true },
      {
        open: () => {
          this.requests.attach(connection);
          resolve();
        },
        frame: (frame) => {
          if (frame.type === FrameType.RESPONSE) this.requests.handle(frame);
        },
        closed: (error) => {
          this.requests.close(error);
          reject(error);
        },
      },
    );
    this.#connection = connection;
  }

  /** Takes what the process writes, and throws it away. */
  attach({ process, token }: ProcessHandle): { send(stdin: FrameFields): void } {
    const generation = this.#generation++;
    this.#connection.send({
      type: FrameType.ATTACH,
      id: streamId(process, StreamKind.control),
      generation,
      payload: encodeAttach({ token, stdout: NOTHING, stderr: NOTHING }),
    });
    return {
      send: (stdin) =>
        this.#connection.send({ ...stdin, id: streamId(process, StreamKind.stdin), generation }),
    };
  }

  [Symbol.dispose](): void {
    this.#connection.close(new RpcError('cancelled', 'the rehearsal is over'), { linger: false });
  }
}

const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

function processOf(args: readonly string[], terminal = false): object {
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    args,
    env: ['PATH=/usr/bin'],
    cwd: '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
  };
}

const bind = { destination: '/mnt', type: 'bind', source: '/', options: ['rbind', 'ro'] };

/** As `coracle spec` makes it, as far as that makes a difference. */
function config(binds: number): object {
  return {
    ociVersion: '1.0.2',
    process: processOf(['busybox', 'cat']),
    root: { path: 'rootfs', readonly: true },
    hostname: 'rehearsal',
    mounts: [
      ...Array.from({ length: binds }, () => bind),
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'nodev', 'mode=1777'] },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue' },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'ro'] },
      { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'ro'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev'] },
    ],
    linux: {
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
      maskedPaths: ['/proc/kcore', '/proc/timer_list', '/sys/firmware'],
      readonlyPaths: ['/proc/bus', '/proc/sys'],
    },
  };
}
