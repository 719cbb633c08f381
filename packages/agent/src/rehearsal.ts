/**
 * What every sandbox does first, done once with a host of our own: a link, a container, an exec, their exits. A function is
 * compiled when it is called first, and a function of libc declared; under emulation that takes longer than what they do.
 * Nothing of it stays but that: the container is removed, its numbers and tokens are never used again.
 */
import { hostname } from 'node:os';
import { kernelRandom, openStream, reseedRandom, setHostname, setRealTime, socketPair } from '@coracle/sys';
import {
  Connection,
  encodeAttach,
  FrameType,
  type ProcessHandle,
  Requests,
  Role,
  STREAM_WINDOW_BYTES,
} from '@coracle/wire';
import type { Agent } from './agent.ts';

const SHARE = 'rehearsal';
const CONTAINER = 'rehearsal';
const NOTHING = { delivered: 0, limit: STREAM_WINDOW_BYTES };

/** @param root a folder with the guest's own programs, which becomes the container's root */
export async function rehearse({ sandbox, sessions }: Agent, root: string): Promise<void> {
  reseedRandom(kernelRandom(32));
  setRealTime(BigInt(Date.now()) * 1_000_000n);
  setHostname(hostname());
  using _share = sandbox.lendShare(SHARE, root);
  const host = new Host();
  const ended = Promise.withResolvers<void>();
  sessions.begin(openStream(host.peer), {
    manualReceive: false,
    opened: () => {},
    closed: () => ended.resolve(),
  });
  await host.opened;
  const { requests } = host;
  await requests.call('getAgentDetails', {});
  await requests.call('updateNetwork', { interfaces: [], routes: [], neighbours: [] });
  const { process } = await requests.call('createContainer', {
    containerId: CONTAINER,
    config: Buffer.from(JSON.stringify(config())),
    rootfsShare: SHARE,
    rootfsPath: '',
    bindSources: [],
    stdin: true,
    columns: 0,
    rows: 0,
  });
  host.attach(process as ProcessHandle);
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
  await requests.call('signalProcess', { containerId: CONTAINER, execId: '', signal: 9, all: false });
  await requests.call('waitProcess', { containerId: CONTAINER, execId: '' });
  await requests.call('removeContainer', { containerId: CONTAINER, force: true });
  host.close();
  await ended.promise;
}

/** The other end of a link, as a proxy and its client have it together. */
class Host {
  readonly peer: number;
  readonly requests = new Requests();
  readonly opened: Promise<void>;
  readonly #connection: Connection;
  readonly #close: () => void;
  #generation = 1;

  constructor() {
    const [own, peer] = socketPair();
    this.peer = peer;
    const socket = openStream(own);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.opened = promise;
    const connection: Connection = new Connection(
      socket,
      { role: Role.proxy, opener: true, flush: false },
      {
        open: () => {
          this.requests.attach(connection);
          resolve();
        },
        frame: (frame) => {
          if (frame.type === FrameType.RESPONSE) this.requests.handle(frame);
        },
        closed: (error) => {
          this.requests.detach();
          reject(error);
        },
      },
    );
    this.#connection = connection;
    this.#close = () => socket.destroy();
  }

  /** Takes what the process writes, and throws it away. */
  attach({ process, token }: ProcessHandle): void {
    this.#connection.send({
      type: FrameType.ATTACH,
      id: process * 4,
      generation: this.#generation++,
      payload: encodeAttach({ token, stdout: NOTHING, stderr: NOTHING }),
    });
  }

  close(): void {
    this.#close();
  }
}

function processOf(args: readonly string[], terminal = false): object {
  return { terminal, user: { uid: 0, gid: 0 }, args, env: ['PATH=/usr/bin'], cwd: '/' };
}

function config(): object {
  return {
    ociVersion: '1.0.2',
    process: processOf(['busybox', 'cat']),
    root: { path: 'rootfs', readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'nodev', 'mode=1777'] },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue' },
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
    },
  };
}
