/** For unit tests: a proxy and agent that do what the test says, on a real unix socket with real frames. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Connection,
  type ExitRecord,
  encodeAttached,
  encodeExit,
  encodeMessage,
  type Frame,
  type FrameFields,
  FrameType,
  MessageAssembler,
  Request,
  Response,
  Role,
  RpcError,
} from '@coracle/wire';

export class ScriptedPeer implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'coracle-client-'));
  readonly socketPath = join(this.directory, 'proxy.sock');
  /** Every connection so far, the last one last. */
  readonly connections: Connection[] = [];
  readonly #server: Server;
  readonly #frames: Frame[] = [];
  #arrived = Promise.withResolvers<void>();
  readonly #assembler = new MessageAssembler(16);
  /** Answers BIND; by default with BOUND. */
  onBind: (connection: Connection, count: number) => void = (connection) =>
    connection.send({ type: FrameType.BOUND });

  constructor() {
    this.#server = createServer((socket) => {
      const connection = new Connection(
        socket,
        { role: Role.proxy, opener: false },
        {
          open: () => undefined,
          frame: (frame) => this.#take(connection, frame),
          closed: () => undefined,
        },
      );
      this.connections.push(connection);
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.socketPath, resolve));
  }

  get connection(): Connection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('nobody has connected');
    return last;
  }

  send(fields: FrameFields): void {
    this.connection.send(fields);
  }

  /** GOAWAY on the last connection. */
  goAway(error: RpcError): void {
    this.connection.close(error);
  }

  /** The next frame of this type, which may have come already; others are kept. */
  async next(type: FrameType): Promise<Frame> {
    for (;;) {
      const index = this.#frames.findIndex((frame) => frame.type === type);
      const [found] = index < 0 ? [] : this.#frames.splice(index, 1);
      if (found !== undefined) return found;
      await this.#arrived.promise;
    }
  }

  /** Whether a frame of this type has come that nobody has asked for yet. */
  has(type: FrameType): boolean {
    return this.#frames.some((frame) => frame.type === type);
  }

  /** The next request, with the id to answer it under. */
  async nextRequest(): Promise<{ id: number; request: Request }> {
    for (;;) {
      const frame = await this.next(FrameType.REQUEST);
      const message = this.#assembler.add(frame);
      if (message !== undefined) return { id: frame.id, request: Request.decode(message) };
    }
  }

  respond(id: number, response: Parameters<typeof Response.fromPartial>[0]): void {
    const bytes = Response.encode(Response.fromPartial(response)).finish();
    for (const frame of encodeMessage(FrameType.RESPONSE, id, bytes)) this.connection.sendEncoded(frame);
  }

  /** Waits for ATTACH and answers it. @returns the ATTACH frame */
  async attach(attached: Partial<Parameters<typeof encodeAttached>[0]> = {}): Promise<Frame> {
    const frame = await this.next(FrameType.ATTACH);
    const credit = { delivered: 0, limit: 1024 };
    const payload = encodeAttached({
      stdin: credit,
      control: credit,
      stdoutStart: 0,
      stderrStart: 0,
      ...attached,
    });
    this.send({ type: FrameType.ATTACHED, id: frame.id, generation: frame.generation, payload });
    return frame;
  }

  exit(attach: Frame, exit: Partial<ExitRecord> = {}): void {
    const payload = encodeExit({
      cause: 'exited',
      waitStatus: 0,
      stdoutFinal: 0,
      stderrFinal: 0,
      message: '',
      ...exit,
    });
    this.send({ type: FrameType.EXIT, id: attach.id, generation: attach.generation, payload });
  }

  /** DATA of stdout. */
  stdout(attach: Frame, offset: number, payload: Buffer): void {
    const { id, generation } = attach;
    this.send({ type: FrameType.DATA, id: id + 2, generation, offset, payload });
  }

  /** As a proxy that dies: nobody listens any more. It may listen again. */
  stop(): void {
    this.#server.close();
    for (const connection of this.connections) connection.close(new RpcError('aborted', 'the test is over'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #take(connection: Connection, frame: Frame): void {
    if (frame.type === FrameType.BIND) this.onBind(connection, this.connections.length);
    // The payload may be a view of memory that is used again.
    this.#frames.push({ ...frame, payload: Buffer.from(frame.payload) });
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
  }
}
