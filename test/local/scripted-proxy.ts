/**
 * A proxy and an agent in one, as small as docs/protocol.md allows, for tests of the shim: it keeps the
 * streams of one process over any number of connections, and can cut a connection at any byte.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import {
  type CauseName,
  Code,
  type ControlRecord,
  Decoder,
  decodeAttach,
  decodeControlRecords,
  decodeWindow,
  encodeAttached,
  encodeExit,
  encodeFailure,
  encodeFrame,
  encodePreamble,
  encodeWindow,
  type Frame,
  type FrameFields,
  FrameType,
  MAX_PAYLOAD_BYTES,
} from '@coracle/wire';

export const PROCESS = 7;
const [CONTROL, STDIN, STDOUT, STDERR] = [
  4 * PROCESS,
  4 * PROCESS + 1,
  4 * PROCESS + 2,
  4 * PROCESS + 3,
] as const;
const STDIN_WINDOW = 1024 * 1024;
const CONTROL_WINDOW = 1024;

/** An output as the agent keeps it. */
class Output {
  bytes: Buffer = Buffer.alloc(0);
  base = 0;
  next = 0;
  limit = 0;
  ended = false;
  stopped = false;
}

export interface ProxyOptions {
  /** Cuts every connection after it has sent this many bytes; the next one goes on. */
  cutAfterBytes?: (connection: number) => number | undefined;
  /** Drops every connection once it has brought this many bytes of stdin. */
  cutAfterStdinBytes?: (connection: number) => number | undefined;
  /** Answers BIND or ATTACH in another way. Return true when it was dealt with. */
  intercept?: (frame: Frame, connection: Connection) => boolean;
  /** stdin bytes that the process takes before it takes no more for now; default: all. */
  stdinTakes?: number;
  /** Sends STOP of stdin once this much has come. */
  stdinStopsAt?: number;
  /** Bytes per write to the socket; default: all at once. */
  pieceBytes?: number;
}

export class Connection {
  readonly #socket: Socket;
  readonly #budget: number | undefined;
  readonly #pieceBytes: number;
  #sent = 0;
  isOver = false;

  constructor(socket: Socket, budget: number | undefined, pieceBytes: number) {
    this.#socket = socket;
    this.#budget = budget;
    this.#pieceBytes = pieceBytes;
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  raw(bytes: Buffer): void {
    if (this.isOver) return;
    let part = bytes;
    if (this.#budget !== undefined && this.#sent + bytes.length >= this.#budget) {
      part = bytes.subarray(0, this.#budget - this.#sent);
      this.isOver = true;
    }
    this.#sent += part.length;
    for (let at = 0; at < part.length; at += this.#pieceBytes) {
      this.#socket.write(part.subarray(at, at + this.#pieceBytes));
    }
    // What was written arrives, then the connection is gone in the middle of a frame.
    if (this.isOver) this.#socket.end(() => this.#socket.destroy());
  }

  send(fields: FrameFields): void {
    this.raw(encodeFrame(fields));
  }

  goAway(code: number, message: string): void {
    this.send({ type: FrameType.GOAWAY, payload: encodeFailure(code, message) });
    this.isOver = true;
    this.#socket.end();
  }

  destroy(): void {
    this.isOver = true;
    this.#socket.destroy();
  }
}

export class ScriptedProxy implements AsyncDisposable {
  readonly path: string;
  readonly #options: ProxyOptions;
  #server: Server | undefined;
  readonly #outputs = new Map([
    [STDOUT, new Output()],
    [STDERR, new Output()],
  ]);
  #generation = 0;
  #current: Connection | undefined;
  readonly #sockets = new Set<Socket>();
  #exit: Buffer | undefined;
  connections = 0;
  attachments = 0;
  sandbox = '';
  token: Buffer = Buffer.alloc(0);
  /** stdin as the process gets it. */
  readonly stdinHash = createHash('sha256');
  stdinHead: Buffer = Buffer.alloc(0);
  stdinExpected = 0;
  stdinDelivered = 0;
  stdinFinal: number | undefined;
  controlExpected = 0;
  readonly records: ControlRecord[] = [];
  /** STOP frames that came, by stream. */
  readonly stopped: string[] = [];
  /** GOAWAY of the shim. */
  readonly complaints: string[] = [];
  readonly #credits = new Map<number, number>();
  /** What went wrong in the shim's conduct; every test expects none. */
  readonly violations: string[] = [];
  #announced = 0;
  #stdinTakes: number;
  #stopSent = false;
  /** stdin bytes of the present connection. */
  #stdinHere = 0;

  constructor(path: string, options: ProxyOptions = {}) {
    this.path = path;
    this.#options = options;
    this.#stdinTakes = options.stdinTakes ?? Number.POSITIVE_INFINITY;
  }

  async listen(): Promise<this> {
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.path, resolve);
    });
    return this;
  }

  /** Stops listening and drops what is connected, as `kill -9` does. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #accept(socket: Socket): void {
    const connection = new Connection(
      socket,
      this.#options.cutAfterBytes?.(this.connections),
      this.#options.pieceBytes ?? Number.POSITIVE_INFINITY,
    );
    this.connections++;
    this.#sockets.add(socket);
    const decoder = new Decoder(
      {
        preamble: (preamble) => {
          connection.raw(Buffer.from('half a frame of an earlier connection'));
          connection.raw(
            encodePreamble({
              versionMin: 1,
              versionMax: 1,
              features: 0,
              epoch: randomBytes(16),
              echo: preamble.epoch,
              role: 2,
            }),
          );
          return true;
        },
        frame: (frame) => {
          if (!connection.isOver) this.#frame(frame, connection);
        },
      },
      { resynchronise: true },
    );
    socket.on('data', (chunk) => {
      try {
        decoder.push(chunk);
      } catch (error) {
        this.violations.push(String(error));
        socket.destroy();
      }
    });
    socket.on('drain', () => this.#pump());
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #frame(frame: Frame, connection: Connection): void {
    if (this.#options.intercept?.(frame, connection)) return;
    switch (frame.type) {
      case FrameType.BIND:
        this.sandbox = frame.payload.toString();
        connection.send({ type: FrameType.BOUND });
        return;
      case FrameType.ATTACH:
        this.#attach(frame, connection);
        return;
      case FrameType.GOAWAY:
        this.complaints.push(frame.payload.toString('utf8', 4));
        return;
    }
    if (frame.generation !== this.#generation) return;
    if (frame.type === FrameType.WINDOW) this.#window(frame);
    else if (frame.type === FrameType.STOP) this.#stop(frame);
    else if (frame.type === FrameType.DATA) this.#data(frame);
    else if (frame.type === FrameType.EOF) this.#eof(frame);
    else this.violations.push(`unexpected frame of type ${frame.type}`);
    this.#pump();
  }

  #attach(frame: Frame, connection: Connection): void {
    const attach = decodeAttach(frame.payload);
    if (frame.generation === 0 || frame.generation === this.#generation) {
      this.violations.push('ATTACH repeats a generation');
    }
    this.token = attach.token as Buffer;
    this.#generation = frame.generation;
    this.#current = connection;
    this.attachments++;
    this.#stdinHere = 0;
    for (const [id, credit] of [
      [STDOUT, attach.stdout],
      [STDERR, attach.stderr],
    ] as const) {
      const output = this.#outputs.get(id)!;
      if (credit.delivered < output.base)
        this.violations.push(`${id} delivered ${credit.delivered} goes back`);
      output.base = output.next = Math.max(output.base, credit.delivered);
      output.limit = credit.limit;
    }
    this.#announced = this.stdinDelivered;
    this.#credits.set(STDIN, this.stdinDelivered + STDIN_WINDOW);
    this.#credits.set(CONTROL, this.controlExpected + CONTROL_WINDOW);
    connection.send({
      type: FrameType.ATTACHED,
      id: CONTROL,
      generation: this.#generation,
      payload: encodeAttached({
        stdin: { delivered: this.stdinExpected, limit: this.stdinDelivered + STDIN_WINDOW },
        control: { delivered: this.controlExpected, limit: this.controlExpected + CONTROL_WINDOW },
        stdoutStart: this.#outputs.get(STDOUT)!.base,
        stderrStart: this.#outputs.get(STDERR)!.base,
      }),
    });
    if (this.#stopSent) this.send({ type: FrameType.STOP, id: STDIN });
    for (const [id, output] of this.#outputs) if (output.ended) this.#sendEof(id, output);
    if (this.#exit !== undefined) this.send({ type: FrameType.EXIT, id: CONTROL, payload: this.#exit });
    this.#pump();
  }

  /** Sends a frame of the present attachment. */
  send(fields: FrameFields): void {
    this.#current?.send({ generation: this.#generation, ...fields });
  }

  get generation(): number {
    return this.#generation;
  }

  get connection(): Connection | undefined {
    return this.#current;
  }

  #window(frame: Frame): void {
    const output = this.#outputs.get(frame.id as typeof STDOUT);
    const limit = decodeWindow(frame.payload);
    if (
      output === undefined ||
      frame.offset < output.base ||
      frame.offset > output.next ||
      limit < output.limit
    ) {
      this.violations.push(`WINDOW of ${frame.id} at ${frame.offset}, limit ${limit}`);
      return;
    }
    output.base = frame.offset;
    output.limit = limit;
  }

  #stop(frame: Frame): void {
    this.stopped.push(frame.id === STDOUT ? 'stdout' : frame.id === STDERR ? 'stderr' : `stream ${frame.id}`);
    const output = this.#outputs.get(frame.id as typeof STDOUT);
    if (output === undefined) return;
    output.stopped = true;
    output.ended = true;
    this.#sendEof(frame.id, output);
  }

  #data(frame: Frame): void {
    const expected = frame.id === STDIN ? this.stdinExpected : this.controlExpected;
    const end = frame.offset + frame.payload.length;
    if (frame.offset !== expected || (frame.id !== STDIN && frame.id !== CONTROL)) {
      this.violations.push(`DATA of ${frame.id} at ${frame.offset}, expected ${expected}`);
    }
    if (end > (this.#credits.get(frame.id) ?? 0))
      this.violations.push(`DATA of ${frame.id} beyond the limit`);
    if (frame.id === CONTROL) {
      this.controlExpected = end;
      this.records.push(...decodeControlRecords(frame.payload));
      this.#credits.set(CONTROL, end + CONTROL_WINDOW);
      this.send({
        type: FrameType.WINDOW,
        id: CONTROL,
        offset: end,
        payload: encodeWindow(end + CONTROL_WINDOW),
      });
      return;
    }
    this.stdinExpected = end;
    this.#stdinHere += frame.payload.length;
    this.stdinHash.update(frame.payload);
    if (this.stdinHead.length < 65_536) this.stdinHead = Buffer.concat([this.stdinHead, frame.payload]);
    this.#deliverStdin();
    const cutsAt = this.#options.cutAfterStdinBytes?.(this.connections - 1);
    if (cutsAt !== undefined && this.#stdinHere >= cutsAt) this.#current?.destroy();
    const stopsAt = this.#options.stdinStopsAt;
    if (stopsAt !== undefined && end >= stopsAt && !this.#stopSent) {
      this.#stopSent = true;
      this.send({ type: FrameType.STOP, id: STDIN });
    }
  }

  /** Lets the process take more of its stdin. */
  takeStdin(bytes: number): void {
    this.#stdinTakes = bytes;
    this.#deliverStdin();
  }

  // As the page says: WINDOW after a quarter of the window, and at the end; nothing in between.
  #deliverStdin(): void {
    this.stdinDelivered = Math.min(this.stdinExpected, this.#stdinTakes);
    const fresh = this.stdinDelivered - this.#announced;
    if (fresh === 0 || (fresh < STDIN_WINDOW / 4 && this.stdinDelivered !== this.stdinFinal)) return;
    this.#announced = this.stdinDelivered;
    this.#credits.set(STDIN, this.stdinDelivered + STDIN_WINDOW);
    this.send({
      type: FrameType.WINDOW,
      id: STDIN,
      offset: this.stdinDelivered,
      payload: encodeWindow(this.stdinDelivered + STDIN_WINDOW),
    });
  }

  #eof(frame: Frame): void {
    if (frame.id !== STDIN || (this.stdinFinal !== undefined && this.stdinFinal !== frame.offset)) {
      this.violations.push(`EOF of ${frame.id} at ${frame.offset}`);
    }
    this.stdinFinal = frame.offset;
    this.#deliverStdin();
  }

  stdinDigest(): string {
    return this.stdinHash.copy().digest('hex');
  }

  get stdinIsWhole(): boolean {
    return this.stdinFinal !== undefined && this.stdinExpected === this.stdinFinal;
  }

  stdout(bytes: Buffer | string): void {
    this.#write(STDOUT, bytes);
  }

  stderr(bytes: Buffer | string): void {
    this.#write(STDERR, bytes);
  }

  stdoutState(): { base: number; next: number; limit: number } {
    const { base, next, limit } = this.#outputs.get(STDOUT)!;
    return { base, next, limit };
  }

  #write(id: typeof STDOUT | typeof STDERR, bytes: Buffer | string): void {
    const output = this.#outputs.get(id)!;
    output.bytes = Buffer.concat([output.bytes, Buffer.from(bytes)]);
    this.#pump();
  }

  #sendEof(id: number, output: Output): void {
    const offset = output.stopped ? output.next : output.bytes.length;
    this.send({ type: FrameType.EOF, id, offset });
  }

  endOutput(name: 'stdout' | 'stderr'): void {
    const id = name === 'stdout' ? STDOUT : STDERR;
    const output = this.#outputs.get(id)!;
    output.ended = true;
    this.#sendEof(id, output);
  }

  /** The process has ended; the record may overtake the output. */
  exit(
    waitStatus: number,
    cause: CauseName = (waitStatus & 0x7f) === 0 ? 'exited' : 'signalled',
    message = '',
  ): void {
    this.#exit = encodeExit({
      cause,
      waitStatus,
      stdoutFinal: this.#final(STDOUT),
      stderrFinal: this.#final(STDERR),
      message,
    });
    this.send({ type: FrameType.EXIT, id: CONTROL, payload: this.#exit });
    this.#pump();
  }

  #final(id: typeof STDOUT | typeof STDERR): number {
    const output = this.#outputs.get(id)!;
    return output.stopped ? output.next : output.bytes.length;
  }

  // Streams take turns, and no more than 64 KiB wait in the socket.
  #pump(): void {
    const connection = this.#current;
    for (let progress = true; progress; ) {
      progress = false;
      for (const [id, output] of this.#outputs) {
        if (connection === undefined || connection.isOver || connection.queuedBytes > 65_536) return;
        const end = Math.min(output.bytes.length, output.limit, output.next + MAX_PAYLOAD_BYTES);
        if (output.stopped || end <= output.next) continue;
        const payload = output.bytes.subarray(output.next, end);
        const offset = output.next;
        output.next = end;
        this.send({ type: FrameType.DATA, id, offset, payload });
        progress = true;
      }
    }
  }

  /** GOAWAY as the proxy sends it when the VM is gone. */
  loseVm(message = 'QEMU was killed by signal 9'): void {
    this.#current?.goAway(Code.unavailable, message);
  }
}
