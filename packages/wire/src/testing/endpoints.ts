/**
 * Both ends of one process's streams, as the agent and a client drive them, over a switch that is two
 * queues. Everything happens when the test says so, and nothing happens by looking: sources are read on
 * `room`, frames are pulled after `ready`, so that an event that is forgotten shows as a stall.
 */
import { encodeFrame, type Frame, FrameType, readHeader } from '../frame.ts';
import { HEADER_BYTES } from '../limits.ts';
import {
  decodeAttach,
  decodeAttached,
  decodeExit,
  decodeWindow,
  encodeAttach,
  encodeAttached,
  encodeExit,
} from '../payloads.ts';
import { ReceiveStream } from '../receive-stream.ts';
import { SendStream } from '../send-stream.ts';

export const PROCESS = 3;
const ID = { process: PROCESS * 4, control: PROCESS * 4, stdin: PROCESS * 4 + 1, stdout: PROCESS * 4 + 2 };

export interface Sizes {
  readonly windowBytes: number;
  readonly retentionBytes: number;
}

/** Who writes: a program, or the engine. What does not fit waits here, as in a pipe. */
export class Source {
  readonly stream: SendStream;
  /** All that was ever written, from the first byte on. */
  readonly written: number[] = [];
  #pushed = 0;
  #ended = false;
  #waiting = false;
  static #next = 0;

  constructor(id: number, retentionBytes: number, ready: (stream: SendStream) => void) {
    this.stream = new SendStream(
      id,
      {
        ready,
        room: () => {
          if (!this.#waiting) return;
          this.#waiting = false;
          this.#read();
        },
        stopped: () => this.#read(),
      },
      { retentionBytes },
    );
  }

  /** Bytes that the stream did not have room for. */
  get unread(): number {
    return this.written.length - this.#pushed;
  }

  write(length: number): void {
    if (this.#ended) return;
    for (let i = 0; i < length; i++) this.written.push(Source.#next++ % 251);
    if (!this.#waiting) this.#read();
  }

  end(): void {
    this.#ended = true;
    if (!this.#waiting) this.#read();
  }

  #read(): void {
    while (this.unread > 0) {
      const length = Math.min(this.stream.room, this.unread);
      if (length <= 0) {
        this.#waiting = true;
        return;
      }
      this.stream.push(Buffer.from(this.written.slice(this.#pushed, this.#pushed + length)));
      this.#pushed += length;
    }
    if (this.#ended) this.stream.finish();
  }
}

/** Who reads: what has come and is not yet written to the descriptor waits here. */
export class Sink {
  readonly stream: ReceiveStream;
  readonly read: number[] = [];
  #held = Buffer.alloc(0);

  constructor(id: number, windowBytes: number) {
    this.stream = new ReceiveStream(id, windowBytes);
  }

  get held(): number {
    return this.#held.length;
  }

  data(frame: Frame): void {
    this.#held = Buffer.concat([this.#held, this.stream.data(frame.offset, frame.payload)]);
  }

  /** The descriptor takes up to `length` bytes. @returns a WINDOW frame to send */
  take(length: number): Buffer | undefined {
    const bytes = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(bytes.length);
    // A write that was under way when the reader went away still ends, and is reported.
    if (!this.stream.stopped) this.read.push(...bytes);
    return this.stream.deliver(bytes.length);
  }
}

/** One direction through the switch: control frames overtake DATA, each kind keeps its order. */
export class Lane {
  #frames: Buffer[] = [];

  push(bytes: Buffer, overtake = 0): void {
    let at = this.#frames.length;
    if (bytes[4] !== FrameType.DATA) {
      while (overtake-- > 0 && at > 0 && this.#frames[at - 1]?.[4] === FrameType.DATA) at--;
    }
    this.#frames.splice(at, 0, bytes);
  }

  shift(): Frame | undefined {
    const encoded = this.#frames.shift();
    if (encoded === undefined) return undefined;
    const header = readHeader(encoded, 0);
    return { ...header, payload: encoded.subarray(HEADER_BYTES, HEADER_BYTES + header.length), encoded };
  }

  lose(): void {
    this.#frames = [];
  }
}

abstract class Endpoint {
  generation = 0;
  /** Control frames overtake this many DATA frames on their way. */
  overtake = 0;
  readonly #lane: Lane;
  readonly #scheduled = new Set<SendStream>();
  protected readonly ready = (stream: SendStream): void => {
    this.#scheduled.add(stream);
  };

  constructor(lane: Lane) {
    this.#lane = lane;
  }

  protected send(bytes: Buffer | undefined): void {
    if (bytes !== undefined) this.#lane.push(bytes, this.overtake);
  }

  /** Sends one frame of each stream that said it was ready. @returns whether there was any */
  pull(): boolean {
    let any = false;
    for (const stream of this.#scheduled) {
      const bytes = stream.pull();
      if (bytes === undefined) this.#scheduled.delete(stream);
      else {
        any = true;
        this.send(bytes);
      }
    }
    return any;
  }

  protected forgetScheduled(): void {
    this.#scheduled.clear();
  }

  abstract handle(frame: Frame): void;
}

export class AgentEnd extends Endpoint {
  readonly stdin: Sink;
  readonly control: Sink;
  readonly stdout: Source;
  #exited = false;

  constructor(lane: Lane, sizes: Sizes) {
    super(lane);
    this.stdin = new Sink(ID.stdin, sizes.windowBytes);
    this.control = new Sink(ID.control, 32);
    this.stdout = new Source(ID.stdout, sizes.retentionBytes, this.ready);
  }

  /** The link has gone, or has begun a new epoch. */
  detach(): void {
    this.stdout.stream.detach();
    this.forgetScheduled();
  }

  readStdin(length: number): void {
    this.send(this.stdin.take(length));
    this.send(this.control.take(this.control.held));
  }

  stopStdin(): void {
    const stop = this.stdin.stream.stop();
    if (this.generation !== 0) this.send(stop);
  }

  exit(): void {
    this.#exited = true;
    this.stdout.end();
    this.#sendExit();
  }

  #sendExit(): void {
    const final = this.stdout.stream.final;
    // As the protocol says: an exit is reported when everything the process wrote has been read.
    if (!this.#exited || final === undefined || this.generation === 0) return;
    const payload = encodeExit({
      cause: 'exited',
      waitStatus: 0,
      stdoutFinal: final,
      stderrFinal: 0,
      message: '',
    });
    this.send(encodeFrame({ type: FrameType.EXIT, id: ID.process, generation: this.generation, payload }));
  }

  handle(frame: Frame): void {
    if (frame.type === FrameType.ATTACH) {
      const attach = decodeAttach(frame.payload);
      const stdoutStart = this.stdout.stream.attach(
        attach.stdout.delivered,
        attach.stdout.limit,
        frame.generation,
      );
      this.generation = frame.generation;
      const payload = encodeAttached({
        stdin: this.stdin.stream.answerAttach(frame.generation),
        control: this.control.stream.answerAttach(frame.generation),
        stdoutStart,
        stderrStart: 0,
      });
      this.send(
        encodeFrame({ type: FrameType.ATTACHED, id: ID.process, generation: frame.generation, payload }),
      );
      if (this.stdin.stream.stopped || this.stdin.stream.sealed) this.send(this.stdin.stream.stopFrame());
      this.#sendExit();
      return;
    }
    if (frame.generation !== this.generation) return;
    const { stream } = this.stdout;
    if (frame.type === FrameType.WINDOW) stream.window(frame.offset, decodeWindow(frame.payload));
    else if (frame.type === FrameType.STOP) stream.stop();
    else if (frame.type === FrameType.EOF) this.send(this.stdin.stream.end(frame.offset));
    else if (frame.type === FrameType.DATA) (frame.id === ID.stdin ? this.stdin : this.control).data(frame);
    if (frame.type === FrameType.WINDOW || frame.type === FrameType.STOP) this.#sendExit();
  }
}

export class ClientEnd extends Endpoint {
  readonly stdin: Source;
  readonly control: Source;
  readonly stdout: Sink;
  attached = false;
  /** Final offset of stdout, from EXIT. */
  exitAt: number | undefined;
  /** The first of its bytes of stdin has this offset; known once it has attached. */
  stdinOrigin: number | undefined;
  /** Where its stdout begins. */
  stdoutOrigin: number | undefined;

  constructor(lane: Lane, sizes: Sizes) {
    super(lane);
    this.stdin = new Source(ID.stdin, sizes.retentionBytes, this.ready);
    this.control = new Source(ID.control, 32, this.ready);
    this.stdout = new Sink(ID.stdout, sizes.windowBytes);
  }

  attach(generation: number): void {
    this.generation = generation;
    this.attached = false;
    const payload = encodeAttach({
      token: Buffer.alloc(16),
      stdout: this.stdout.stream.attach(generation),
      stderr: { delivered: 0, limit: 0 },
    });
    this.send(encodeFrame({ type: FrameType.ATTACH, id: ID.process, generation, payload }));
  }

  detach(): void {
    this.attached = false;
    this.generation = 0;
    this.stdin.stream.detach();
    this.control.stream.detach();
    this.forgetScheduled();
  }

  readStdout(length: number): void {
    const window = this.stdout.take(length);
    if (this.generation !== 0) this.send(window);
  }

  stopStdout(): void {
    const stop = this.stdout.stream.stop();
    if (this.attached) this.send(stop);
  }

  handle(frame: Frame): void {
    if (frame.generation !== this.generation) return;
    if (frame.type === FrameType.ATTACHED) {
      const attached = decodeAttached(frame.payload);
      this.attached = true;
      this.stdinOrigin ??= attached.stdin.delivered;
      this.stdoutOrigin ??= attached.stdoutStart;
      this.stdout.stream.startAt(attached.stdoutStart);
      this.stdin.stream.resume(attached.stdin.delivered, attached.stdin.limit, frame.generation);
      this.control.stream.resume(attached.control.delivered, attached.control.limit, frame.generation);
      if (this.stdout.stream.stopped) this.stopStdout();
      return;
    }
    if (frame.type === FrameType.EXIT) {
      this.exitAt = decodeExit(frame.payload).stdoutFinal;
      this.send(this.stdout.stream.end(this.exitAt));
    } else if (frame.type === FrameType.EOF) this.send(this.stdout.stream.end(frame.offset));
    else if (frame.type === FrameType.STOP) this.stdin.stream.stop();
    else if (frame.type === FrameType.DATA) this.stdout.data(frame);
    else if (frame.type === FrameType.WINDOW) {
      const { stream } = frame.id === ID.stdin ? this.stdin : this.control;
      stream.window(frame.offset, decodeWindow(frame.payload));
    }
  }
}
