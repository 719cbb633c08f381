/** What the hostile suites are made of: a proxy daemon that is measured, peers that send any bytes, and a neighbour. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Connection,
  Decoder,
  decodeAttach,
  decodeFailure,
  decodeWindow,
  encodeAttach,
  encodeAttached,
  encodeFrame,
  encodePreamble,
  type Frame,
  type FrameFields,
  FrameType,
  ReceiveStream,
  Role,
  SendStream,
} from '@coracle/wire';
import { until } from '../support/wait.ts';

const proxyEntry = fileURLToPath(new URL('../../packages/proxy/src/main.ts', import.meta.url));
export const MiB = 1024 * 1024;

export interface DaemonOptions {
  readonly sandboxes?: string;
  readonly socket?: string;
  readonly args?: readonly string[];
  /** A program that runs the daemon, such as prlimit with its arguments. */
  readonly wrap?: readonly string[];
}

/** A coracle-proxy of its own, with one folder per sandbox below `sandboxes`. */
export class ProxyDaemon {
  readonly folder = mkdtempSync(join(tmpdir(), 'coracle-hostile-'));
  readonly socket: string;
  readonly sandboxes: string;
  readonly #child: ChildProcess;
  log = '';

  private constructor({ sandboxes, socket, args: extra = [], wrap = [] }: DaemonOptions) {
    this.socket = socket ?? join(this.folder, 'proxy.sock');
    chmodSync(this.folder, 0o755);
    this.sandboxes = sandboxes ?? join(this.folder, 'sandboxes');
    mkdirSync(this.sandboxes, { recursive: true });
    const args = [proxyEntry, '--socket', this.socket, '--sandboxes', this.sandboxes, '--idle-exit-ms', '0'];
    const [file = process.execPath, ...rest] = [...wrap, process.execPath, ...args, ...extra];
    this.#child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.log += chunk;
    });
  }

  static async start(options: DaemonOptions = {}): Promise<ProxyDaemon> {
    const daemon = new ProxyDaemon(options);
    const ready = once(daemon.#child.stdout as NodeJS.ReadableStream, 'data');
    await Promise.race([
      ready,
      once(daemon.#child, 'exit').then(() => Promise.reject(new Error(daemon.log))),
    ]);
    return daemon;
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Its resident memory. */
  get rssBytes(): number {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'));
    return Number(line?.[1]) * 1024;
  }

  /** The most it has had. */
  get peakBytes(): number {
    const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'));
    return Number(line?.[1]) * 1024;
  }

  /** CPU time, user and system, in ms. */
  get cpuMs(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    if (this.alive) await once(this.#child, 'exit');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** One end of a connection that sends what it is told, frames or not, and notes what comes. */
export class RawPeer {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  /** Frames are thrown away beyond this: a flood that is echoed is not the test's to keep. */
  keep = 1000;
  readonly #decoder: Decoder;
  ended = false;

  /** @param answerAs the role of an answerer; `mute` says nothing at all; without it, it greets as a client */
  constructor(socket: net.Socket, answerAs?: Role | 'mute') {
    this.socket = socket;
    const own = { versionMin: 1, versionMax: 1, features: 0, epoch: randomBytes(16) };
    this.#decoder = new Decoder(
      {
        preamble: (preamble) => {
          if (typeof answerAs === 'number')
            socket.write(encodePreamble({ ...own, echo: preamble.epoch, role: answerAs }));
          return true;
        },
        frame: (frame) => {
          if (this.frames.length < this.keep)
            this.frames.push({ ...frame, payload: Buffer.from(frame.payload) });
          this.onFrame(frame);
        },
      },
      { resynchronise: answerAs !== undefined },
    );
    socket.on('data', (chunk: Buffer) => this.#decoder.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.ended = true;
    });
    if (answerAs === undefined)
      socket.write(encodePreamble({ ...own, echo: Buffer.alloc(16), role: Role.client }));
  }

  onFrame: (frame: Frame) => void = () => undefined;

  send(...frames: FrameFields[]): void {
    this.socket.write(Buffer.concat(frames.map(encodeFrame)));
  }

  /** Writes at the pace of whoever reads; stops when the connection ends. */
  async flood(bytes: Buffer, times: number): Promise<void> {
    for (let i = 0; i < times && !this.ended; i++) {
      if (!this.socket.write(bytes))
        await until(() => this.ended || this.socket.writableLength < 64 * 1024, 'the flood is taken');
    }
  }

  async got(type: FrameType, which: (frame: Frame) => boolean = () => true): Promise<Frame> {
    const find = (): Frame | undefined => this.frames.find((frame) => frame.type === type && which(frame));
    await until(
      () => find() !== undefined || this.ended,
      `a frame of type ${type} comes; ${this.frames.map((f) => f.type).join(' ')} came`,
    );
    const frame = find();
    if (frame === undefined)
      throw new Error(`the connection ended without a frame of type ${type}: ${this.farewell?.message}`);
    return frame;
  }

  /** What GOAWAY said. */
  get farewell(): { code: number; message: string } | undefined {
    const frame = this.frames.findLast(({ type }) => type === FrameType.GOAWAY);
    return frame && decodeFailure(frame.payload);
  }

  async goAway(): Promise<{ code: number; message: string }> {
    await until(() => this.farewell !== undefined || this.ended, 'GOAWAY comes');
    if (this.farewell === undefined) throw new Error('the connection ended without GOAWAY');
    return this.farewell;
  }
}

export function connectRaw(socketPath: string): RawPeer {
  return new RawPeer(net.connect(socketPath));
}

export async function bindRaw(socketPath: string, sandbox: string): Promise<RawPeer> {
  const peer = connectRaw(socketPath);
  peer.send({ type: FrameType.BIND, payload: Buffer.from(sandbox) });
  await peer.got(FrameType.BOUND);
  return peer;
}

/** A guest whose agent is the test: every link of the proxy to it is a RawPeer. */
export class ScriptedGuest {
  readonly links: RawPeer[] = [];
  readonly #server: net.Server;

  private constructor(onLink: (peer: RawPeer) => void, answer: boolean) {
    this.#server = net.createServer((socket) => {
      const peer = new RawPeer(socket, answer ? Role.agent : 'mute');
      this.links.push(peer);
      onLink(peer);
    });
  }

  static async listen(
    sandboxes: string,
    id: string,
    options: { onLink?: (peer: RawPeer) => void; answer?: boolean } = {},
  ): Promise<ScriptedGuest> {
    const guest = new ScriptedGuest(options.onLink ?? (() => undefined), options.answer ?? true);
    mkdirSync(join(sandboxes, id));
    guest.#server.listen(join(sandboxes, id, 'link.sock'));
    await once(guest.#server, 'listening');
    return guest;
  }

  get link(): RawPeer {
    return this.links.at(-1) as RawPeer;
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.links) socket.destroy();
  }
}

const TOKEN = Buffer.alloc(16, 7);
const WINDOW_BYTES = 256 * 1024;

/** An honest guest and client beside the hostile one: they move data all the time, and count what arrives whole. */
export class Neighbour {
  /** Rounds whose bytes arrived with the right sha256. */
  rounds = 0;
  wrong = 0;
  /** Why a connection of theirs ended: never, in every test. */
  readonly ends: string[] = [];
  readonly #roundBytes: number;
  readonly #server: net.Server;
  #client: Connection | undefined;
  #socket: net.Socket | undefined;
  #sent = createHash('sha256');
  #received = createHash('sha256');
  #sending: SendStream | undefined;
  #stopped = false;

  private constructor(roundBytes: number) {
    this.#roundBytes = roundBytes;
    this.#server = net.createServer((socket) => this.#serve(socket));
  }

  static async start(daemon: ProxyDaemon, id = 'neighbour', roundBytes = MiB): Promise<Neighbour> {
    const neighbour = new Neighbour(roundBytes);
    mkdirSync(join(daemon.sandboxes, id));
    neighbour.#server.listen(join(daemon.sandboxes, id, 'link.sock'));
    await once(neighbour.#server, 'listening');
    neighbour.#connect(daemon.socket, id);
    await neighbour.more();
    return neighbour;
  }

  /** Waits until two more rounds have arrived: at least one of them has begun after the call. */
  async more(): Promise<void> {
    const wanted = this.rounds + 2;
    await until(() => this.rounds >= wanted || this.ends.length > 0, 'the neighbour goes on');
    if (this.ends.length > 0 || this.wrong > 0)
      throw new Error(`the neighbour was disturbed: ${this.ends.join('; ')}, ${this.wrong} rounds wrong`);
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.destroy();
    this.#server.close();
  }

  #note(end: string): void {
    if (!this.#stopped) this.ends.push(end);
  }

  #connect(socketPath: string, id: string): void {
    const stdout = new ReceiveStream(6, WINDOW_BYTES);
    this.#socket = net.connect(socketPath);
    let received = 0;
    const client: Connection = new Connection(
      this.#socket,
      { role: Role.client, opener: true },
      {
        open: () => client.send({ type: FrameType.BIND, payload: Buffer.from(id) }),
        frame: (frame) => {
          if (frame.type === FrameType.BOUND) {
            const payload = encodeAttach({
              token: TOKEN,
              stdout: stdout.attach(9),
              stderr: { delivered: 0, limit: 0 },
            });
            client.send({ type: FrameType.ATTACH, id: 4, generation: 9, payload });
          } else if (frame.type === FrameType.DATA) {
            let bytes = stdout.data(frame.offset, frame.payload);
            const window = stdout.deliver(bytes.length);
            if (window) client.sendEncoded(window);
            while (bytes.length > 0) {
              const part = bytes.subarray(0, this.#roundBytes - received);
              this.#received.update(part);
              received += part.length;
              bytes = bytes.subarray(part.length);
              if (received < this.#roundBytes) continue;
              received = 0;
              this.#endRound();
            }
          }
        },
        closed: (error) => this.#note(error.message),
      },
    );
    this.#client = client;
  }

  #endRound(): void {
    if (this.#received.digest('hex') === this.#sent.digest('hex')) this.rounds++;
    else this.wrong++;
    this.#received = createHash('sha256');
    this.#sent = createHash('sha256');
    this.#sendRound();
  }

  #sendRound(): void {
    for (let at = 0; at < this.#roundBytes; at += 64 * 1024) {
      const bytes = randomBytes(Math.min(64 * 1024, this.#roundBytes - at));
      this.#sent.update(bytes);
      this.#sending?.push(bytes);
    }
  }

  #serve(socket: net.Socket): void {
    const connection: Connection = new Connection(
      socket,
      { role: Role.agent, opener: false },
      {
        open: () => undefined,
        frame: (frame) => {
          if (frame.type === FrameType.WINDOW)
            this.#sending?.window(frame.offset, decodeWindow(frame.payload));
          if (frame.type !== FrameType.ATTACH) return;
          const events = {
            ready: (stream: SendStream) => connection.schedule(stream),
            room: () => undefined,
            stopped: () => undefined,
          };
          this.#sending = new SendStream(6, events, { retentionBytes: Number.MAX_SAFE_INTEGER });
          const { stdout } = decodeAttach(frame.payload);
          const start = this.#sending.attach(stdout.delivered, stdout.limit, frame.generation);
          const none = { delivered: 0, limit: 0 };
          connection.send({
            type: FrameType.ATTACHED,
            id: 4,
            generation: frame.generation,
            payload: encodeAttached({ stdin: none, control: none, stdoutStart: start, stderrStart: 0 }),
          });
          this.#sendRound();
        },
        closed: (error) => this.#note(error.message),
      },
    );
  }

  get connected(): boolean {
    return this.#client?.isOpen ?? false;
  }
}
