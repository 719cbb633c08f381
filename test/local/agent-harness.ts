/** A client of the agent made of the wire's own parts, straight on the agent's socket: no proxy in between. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type Hash, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CONTROL_WINDOW_BYTES,
  Connection,
  type ControlRecord,
  decodeAttached,
  decodeExit,
  decodeFailure,
  decodeWindow,
  type ExitRecord,
  encodeAttach,
  encodeControlRecord,
  type Frame,
  FrameType,
  type ProcessHandle,
  ReceiveStream,
  Requests,
  Role,
  type RpcError,
  SendStream,
  STREAM_WINDOW_BYTES,
} from '@coracle/wire';

const root = new URL('../..', import.meta.url).pathname;
export const MiB = 1024 * 1024;

export async function until(what: string, condition: () => boolean, deadlineMs = 20_000): Promise<void> {
  const end = Date.now() + deadlineMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const APPLETS = 'sh cat true false sleep seq sha256sum head tail ls ps dd yes stty kill printf test wc tr id';

/** A root file system with busybox, and an agent that serves it as the share "host". */
export class LocalAgent {
  readonly folder = mkdtempSync(join(tmpdir(), 'coracle-agent-'));
  readonly linkPath = join(this.folder, 'link.sock');
  readonly stateFolder = join(this.folder, 'state');
  readonly #child: ChildProcess;
  errors = '';

  private constructor(extra: readonly string[]) {
    const bin = join(this.folder, 'rootfs/bin');
    mkdirSync(bin, { recursive: true });
    for (const name of ['proc', 'dev', 'sys', 'tmp', 'etc']) mkdirSync(join(this.folder, 'rootfs', name));
    copyFileSync('/bin/busybox', join(bin, 'busybox'));
    for (const applet of APPLETS.split(' ')) symlinkSync('busybox', join(bin, applet));
    const entry = process.env.CORACLE_AGENT ?? join(root, 'packages/agent/src/main.ts');
    const args = [entry, '--local', '--link', this.linkPath, '--state', this.stateFolder, ...extra];
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk;
    });
  }

  /** @param args options beyond those that it always has */
  static async start(args: readonly string[] = []): Promise<LocalAgent> {
    const agent = new LocalAgent(args);
    await until('the agent to listen', () => existsSync(agent.linkPath) || agent.#child.exitCode !== null);
    if (agent.#child.exitCode !== null) throw new Error(`the agent did not start: ${agent.errors}`);
    return agent;
  }

  get pid(): number {
    return this.#child.pid as number;
  }
  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async connect(): Promise<AgentClient> {
    const client = new AgentClient(this.linkPath);
    await client.connect();
    return client;
  }

  async stop(): Promise<number | null> {
    if (!this.ended) {
      this.#child.kill('SIGTERM');
      await once(this.#child, 'exit');
    }
    const { exitCode } = this.#child;
    rmSync(this.folder, { recursive: true, force: true });
    return exitCode;
  }
}

export interface ConfigOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly env?: readonly string[];
}

export function ociProcess({ args, terminal = false, env = [] }: ConfigOptions): object {
  return { terminal, user: { uid: 0, gid: 0 }, args, env: ['PATH=/bin', 'TERM=xterm', ...env], cwd: '/' };
}

export function ociConfig(options: ConfigOptions): object {
  return {
    ociVersion: '1.0.2',
    process: ociProcess(options),
    root: { path: 'rootfs', readonly: false },
    hostname: 'inside',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }, { type: 'network' }],
    },
  };
}

export class AgentClient {
  readonly requests = new Requests();
  readonly #path: string;
  readonly #processes = new Map<number, ClientProcess>();
  #socket: Socket | undefined;
  connection: Connection | undefined;
  closedBy: RpcError | undefined;

  readonly #flush: boolean;

  /** @param options flush: the transport has a memory, as a virtio-serial port has */
  constructor(path: string, options: { flush?: boolean } = {}) {
    this.#path = path;
    this.#flush = options.flush ?? false;
  }

  async connect(): Promise<void> {
    const socket = createConnection(this.#path);
    await once(socket, 'connect');
    this.#socket = socket;
    this.closedBy = undefined;
    const opened = Promise.withResolvers<void>();
    const connection: Connection = new Connection(
      socket,
      { role: Role.proxy, opener: true, flush: this.#flush },
      {
        open: () => {
          this.requests.attach(connection);
          opened.resolve();
        },
        frame: (frame) => this.#frame(frame),
        closed: (error) => {
          this.closedBy = error;
          this.requests.detach();
          opened.reject(error);
        },
      },
    );
    this.connection = connection;
    await opened.promise;
  }

  /** Drops the connection as a killed proxy would. */
  drop(): void {
    this.#socket?.destroy();
  }

  /** @param folder what the share "host" shows; with another type than "local" the VM has it */
  createSandbox(folder: string, type = 'local'): Promise<unknown> {
    return this.requests.call('createSandbox', {
      sandboxId: 'test',
      hostname: '',
      hostTimeNs: 0n,
      entropy: Buffer.alloc(0),
      findDevices: false,
      rehearsal: false,
      shares: [{ tag: 'host', type, readonly: false, source: folder }],
    });
  }

  async create(
    containerId: string,
    options: ConfigOptions & { stdin?: boolean; columns?: number; rows?: number; config?: object },
  ): Promise<ClientProcess> {
    const { process } = await this.requests.call('createContainer', {
      containerId,
      config: Buffer.from(JSON.stringify(options.config ?? ociConfig(options))),
      rootfsShare: 'host',
      rootfsPath: 'rootfs',
      bindSources: [],
      stdin: options.stdin ?? false,
      columns: options.columns ?? 0,
      rows: options.rows ?? 0,
    });
    return this.adopt(process as ProcessHandle);
  }

  async start(containerId: string): Promise<void> {
    await this.requests.call('startContainer', { containerId });
  }

  async exec(
    containerId: string,
    execId: string,
    options: ConfigOptions & { stdin?: boolean; columns?: number; rows?: number },
  ): Promise<ClientProcess> {
    const { process } = await this.requests.call('execProcess', {
      containerId,
      execId,
      process: Buffer.from(JSON.stringify(ociProcess(options))),
      stdin: options.stdin ?? false,
      columns: options.columns ?? 0,
      rows: options.rows ?? 0,
    });
    return this.adopt(process as ProcessHandle);
  }

  async remove(containerId: string): Promise<void> {
    await this.requests.call('removeContainer', { containerId, force: true });
  }

  adopt(handle: ProcessHandle): ClientProcess {
    const process = new ClientProcess(this, handle);
    this.#processes.set(handle.process, process);
    return process;
  }

  #frame(frame: Frame): void {
    if (frame.type === FrameType.RESPONSE) this.requests.handle(frame);
    else this.#processes.get(Math.floor(frame.id / 4))?.receive(frame);
  }
}

/** What has come out of one output: counted, hashed, and kept while it is small. */
class Collected {
  readonly #hash: Hash = createHash('sha256');
  readonly #kept: Buffer[] = [];
  bytes = 0;
  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#hash.update(chunk);
    if (this.bytes <= 4 * MiB) this.#kept.push(Buffer.from(chunk));
  }
  get text(): string {
    return Buffer.concat(this.#kept).toString();
  }
  sha256(): string {
    return this.#hash.copy().digest('hex');
  }
}

export class ClientProcess {
  readonly handle: ProcessHandle;
  readonly stdout = new Collected();
  readonly stderr = new Collected();
  readonly #client: AgentClient;
  readonly #out: ReceiveStream;
  readonly #err: ReceiveStream;
  readonly #in: SendStream;
  readonly #control: SendStream;
  #held: Buffer[] = [];
  #generation = 0;
  paused = false;
  stdinStopped = false;
  exit: ExitRecord | undefined;
  refused: { code: number; message: string } | undefined;
  attached = false;

  constructor(client: AgentClient, handle: ProcessHandle) {
    this.#client = client;
    this.handle = handle;
    const id = handle.process * 4;
    const events = {
      ready: (stream: SendStream) => this.#client.connection?.schedule(stream),
      room: () => {},
      stopped: () => {
        this.stdinStopped = true;
      },
    };
    this.#control = new SendStream(id, events, { retentionBytes: CONTROL_WINDOW_BYTES });
    this.#in = new SendStream(id + 1, events, { retentionBytes: STREAM_WINDOW_BYTES });
    this.#out = new ReceiveStream(id + 2, STREAM_WINDOW_BYTES);
    this.#err = new ReceiveStream(id + 3, STREAM_WINDOW_BYTES);
  }

  async attach(token: Uint8Array = this.handle.token): Promise<void> {
    this.#generation = randomInt(1, 2 ** 32);
    this.attached = false;
    this.refused = undefined;
    this.#client.connection?.send({
      type: FrameType.ATTACH,
      id: this.handle.process * 4,
      generation: this.#generation,
      payload: encodeAttach({
        token,
        stdout: this.#out.attach(this.#generation),
        stderr: this.#err.attach(this.#generation),
      }),
    });
    await until('the answer to ATTACH', () => this.attached || this.refused !== undefined);
  }

  /** Writes all of it, at the pace of the process. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += 64 * 1024) {
      const part = bytes.subarray(at, at + 64 * 1024);
      await until('room for stdin', () => this.#in.room >= part.length || this.stdinStopped);
      if (this.stdinStopped) return;
      this.#in.push(part);
    }
  }
  endStdin(): void {
    this.#in.finish();
  }
  send(record: ControlRecord): void {
    this.#control.push(encodeControlRecord(record));
  }
  stopStdout(): void {
    this.#client.connection?.sendEncoded(this.#out.stop());
  }
  resume(): void {
    this.paused = false;
    for (const chunk of this.#held) this.#deliver(this.#out, this.stdout, chunk);
    this.#held = [];
  }

  get complete(): boolean {
    return this.exit !== undefined && this.#out.complete && this.#err.complete;
  }
  get received(): number {
    return this.#out.expected;
  }

  /** Waits until it has exited and all its output was delivered. */
  async end(deadlineMs = 30_000): Promise<ExitRecord> {
    await until(`the end of process ${this.handle.process}`, () => this.complete, deadlineMs);
    return this.exit as ExitRecord;
  }

  receive(frame: Frame): void {
    if (frame.generation !== this.#generation) return;
    const [out, collected] = frame.id % 4 === 3 ? [this.#err, this.stderr] : [this.#out, this.stdout];
    switch (frame.type) {
      case FrameType.ATTACHED: {
        const { stdin, control, stdoutStart, stderrStart } = decodeAttached(frame.payload);
        this.#out.startAt(stdoutStart);
        this.#err.startAt(stderrStart);
        this.attached = true;
        this.#in.resume(stdin.delivered, stdin.limit, this.#generation);
        this.#control.resume(control.delivered, control.limit, this.#generation);
        break;
      }
      case FrameType.REFUSED:
        this.refused = decodeFailure(frame.payload);
        break;
      case FrameType.DATA: {
        const bytes = out.data(frame.offset, frame.payload);
        if (this.paused && out === this.#out) this.#held.push(Buffer.from(bytes));
        else this.#deliver(out, collected, bytes);
        break;
      }
      case FrameType.EOF:
        out.end(frame.offset);
        break;
      case FrameType.EXIT:
        this.exit = decodeExit(frame.payload);
        this.#out.end(this.exit.stdoutFinal);
        this.#err.end(this.exit.stderrFinal);
        break;
      case FrameType.WINDOW:
        (frame.id % 4 === 0 ? this.#control : this.#in).window(frame.offset, decodeWindow(frame.payload));
        break;
      case FrameType.STOP:
        this.#in.stop();
        break;
      default:
        throw new Error(`frame ${frame.type} for a process`);
    }
  }

  #deliver(stream: ReceiveStream, collected: Collected, bytes: Buffer): void {
    collected.add(bytes);
    const window = stream.deliver(bytes.length);
    if (window) this.#client.connection?.sendEncoded(window);
  }
}
