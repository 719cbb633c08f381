/**
 * This end of one process's streams (docs/protocol.md, sections 3 to 5). It outlives connections: on each
 * new one it attaches again, says what it has, and goes on from there.
 *
 *   waiting ──ATTACHED──► attached ──connection lost──► waiting
 *      └─────────────┬───────┘
 *                    ├── EXIT and every output byte received ──► settled with a result
 *                    └── REFUSED, DETACHED, session ended ─────► settled with an error or `vm_lost`
 */
import { randomBytes } from 'node:crypto';
import {
  asRpcError,
  type Connection,
  type ControlRecord,
  codeName,
  decodeAttached,
  decodeExit,
  decodeFailure,
  decodeWindow,
  describeStream,
  type ExitRecord,
  encodeAttach,
  type Frame,
  FrameType,
  frameTypeName,
  ReceiveStream,
  RpcError,
  SendStream,
  STREAM_WINDOW_BYTES,
  StreamKind,
  splitStreamId,
  streamId,
  violation,
} from '@coracle/wire';
import { ControlQueue } from './control-queue.ts';
import { InputStream } from './input-stream.ts';
import { OutputStream } from './output-stream.ts';
import { type ProcessResult, resultOfExit, resultOfLostVm } from './result.ts';

/** What is needed to attach to a process, as CreateContainer and ExecProcess answer it. */
export interface ProcessHandle {
  /** The number p; its streams are 4p to 4p + 3. */
  readonly process: number;
  /** 16 random bytes: who has them may attach. */
  readonly token: Uint8Array;
  readonly terminal: boolean;
  readonly stdin: boolean;
  /** Its pid in the guest, 0 when it was not known yet. */
  readonly pid: number;
}

export interface ChannelOptions {
  /** `ignore`: what the process writes there is thrown away in the guest. */
  readonly stdout: 'pipe' | 'ignore';
  readonly stderr: 'pipe' | 'ignore';
  /** True when nobody but this channel ever owns the process: a gap in its output is then a loss. */
  readonly sole: boolean;
  /** What is kept of each stream at most; the protocol's window unless given. */
  readonly windowBytes?: number;
  /** What each Node stream buffers besides. */
  readonly bufferBytes?: number;
}

/** As Node's sockets and files have it. */
const BUFFER_BYTES = 64 * 1024;

export class Channel {
  readonly handle: ProcessHandle;
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Fulfilled when the agent has accepted the first attachment. */
  readonly attached: Promise<void>;
  readonly result: Promise<ProcessResult>;
  readonly #options: ChannelOptions;
  readonly #onSettled: () => void;
  readonly #control: ControlQueue;
  readonly #stdinSend: SendStream;
  readonly #outputs: readonly [ReceiveStream, ReceiveStream];
  readonly #attachedOnce = Promise.withResolvers<void>();
  readonly #settledOnce = Promise.withResolvers<ProcessResult>();
  #connection: Connection | undefined;
  #generation = 0;
  /** ATTACHED has come for this generation. */
  #isAttached = false;
  /** What ATTACH said was delivered of stdout and stderr. */
  #claimed: readonly [number, number] = [0, 0];
  #exit: ExitRecord | undefined;
  #settled = false;

  /** `onSettled` is called once, when nothing more is expected of the agent. */
  constructor(handle: ProcessHandle, options: ChannelOptions, onSettled: () => void) {
    this.handle = handle;
    this.#options = options;
    this.#onSettled = onSettled;
    const { windowBytes = STREAM_WINDOW_BYTES, bufferBytes = BUFFER_BYTES } = options;
    const id = (kind: StreamKind): number => streamId(handle.process, kind);
    const ready = (stream: SendStream): void => this.#connection?.schedule(stream);
    this.#control = new ControlQueue(id(StreamKind.control), ready);
    this.#stdinSend = new SendStream(
      id(StreamKind.stdin),
      {
        ready,
        room: () => this.stdin.advance(),
        stopped: () => this.stdin.broken('the process has closed its stdin'),
      },
      { retentionBytes: windowBytes },
    );
    this.stdin = new InputStream(this.#stdinSend, bufferBytes);
    if (!handle.stdin && !handle.terminal) this.stdin.broken('the process was started without stdin');
    const output = (kind: StreamKind, mode: 'pipe' | 'ignore'): [ReceiveStream, OutputStream] => {
      const receive = new ReceiveStream(id(kind), windowBytes);
      const stream = new OutputStream(
        receive,
        {
          send: (frame) => this.#connection?.sendEncoded(frame),
          changed: () => this.#settleWhenComplete(),
        },
        bufferBytes,
      );
      if (mode === 'ignore') receive.stop();
      return [receive, stream];
    };
    const [stdoutReceive, stdout] = output(StreamKind.stdout, options.stdout);
    const [stderrReceive, stderr] = output(StreamKind.stderr, options.stderr);
    this.#outputs = [stdoutReceive, stderrReceive];
    this.stdout = stdout;
    this.stderr = stderr;
    this.attached = this.#attachedOnce.promise;
    this.result = this.#settledOnce.promise;
    // Whoever never asks is not to be ended by an unhandled rejection.
    this.attached.catch(() => undefined);
    this.result.catch(() => undefined);
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** True when EXIT has come, be it before the last output. */
  get exited(): boolean {
    return this.#exit !== undefined;
  }

  /** @throws RpcError resource_exhausted, see ControlQueue */
  control(record: ControlRecord): void {
    this.#control.push(record);
  }

  /** A connection is bound: attach on it. */
  attach(connection: Connection): void {
    this.#connection = connection;
    this.#generation = newGeneration(this.#generation);
    this.#isAttached = false;
    const stdout = this.#outputs[0].attach(this.#generation);
    const stderr = this.#outputs[1].attach(this.#generation);
    this.#claimed = [stdout.delivered, stderr.delivered];
    connection.send({
      type: FrameType.ATTACH,
      id: this.#processId,
      generation: this.#generation,
      payload: encodeAttach({ token: this.handle.token, stdout, stderr }),
    });
  }

  /** The connection is gone. */
  detach(): void {
    this.#connection = undefined;
    this.#isAttached = false;
    this.#stdinSend.detach();
    this.#control.stream.detach();
  }

  /** A frame of this process has come. @throws RpcError invalid_argument when it breaks the rules */
  receive(frame: Frame): void {
    if (this.#settled) return;
    switch (frame.type) {
      // These two may come from the proxy, which knows no generations.
      case FrameType.REFUSED: {
        const { code, message } = decodeFailure(frame.payload);
        this.fail(new RpcError(codeName(code), message));
        return;
      }
      case FrameType.DETACHED:
        this.fail(new RpcError('aborted', `another client has attached to process ${this.handle.process}`));
        return;
    }
    if (frame.generation !== this.#generation) return;
    if (frame.type === FrameType.ATTACHED) {
      this.#attached(frame);
      return;
    }
    if (!this.#isAttached) throw violation(`${frameTypeName(frame.type)} before ATTACHED`);
    if (frame.type === FrameType.EXIT) this.#exited(decodeExit(frame.payload));
    else this.#streamFrame(frame, splitStreamId(frame.id).kind);
  }

  /** The process is out of reach for good: with `vmLost` that is its result, otherwise `wait` rejects. */
  fail(error: RpcError, vmLost = false): void {
    if (this.#settled) return;
    // Nothing more is said to the process: closing the streams here must neither stop its output nor end its stdin.
    this.detach();
    this.#attachedOnce.reject(error);
    if (vmLost) this.#settledOnce.resolve(resultOfLostVm(error));
    else this.#settledOnce.reject(error);
    this.#settle();
    this.stdin.fail(error);
    this.stdout.fail(error);
    this.stderr.fail(error);
  }

  #attached(frame: Frame): void {
    if (this.#isAttached) throw violation('a second ATTACHED');
    const attached = decodeAttached(frame.payload);
    this.#isAttached = true;
    const starts = [attached.stdoutStart, attached.stderrStart];
    try {
      for (const [index, output] of this.#outputs.entries())
        this.#resumeOutput(index, output, starts[index] ?? 0);
      this.#stdinSend.resume(attached.stdin.delivered, attached.stdin.limit, this.#generation);
      this.#control.stream.resume(attached.control.delivered, attached.control.limit, this.#generation);
    } catch (error) {
      // The process's bytes are gone, which concerns this process only.
      const reason = asRpcError(error);
      if (reason.code !== 'data_loss') throw error;
      this.fail(reason);
      return;
    }
    this.stdin.opened();
    this.#control.opened();
    for (const output of this.#outputs) if (output.stopped) this.#connection?.sendEncoded(output.stopFrame());
    this.#attachedOnce.resolve();
  }

  #resumeOutput(index: number, output: ReceiveStream, start: number): void {
    if (start < (this.#claimed[index] ?? 0)) {
      throw violation(`${describeStream(output.id)} goes back to ${start}`);
    }
    // Up to `expected` it is here already, delivered or not.
    if (start <= output.expected) return;
    if (this.#options.sole && !output.stopped) {
      throw new RpcError(
        'data_loss',
        `${describeStream(output.id)} goes on at ${start}, but only ${output.expected} bytes came`,
      );
    }
    output.startAt(start);
  }

  #exited(exit: ExitRecord): void {
    const [stdout, stderr] = this.#outputs;
    this.#sendWindow(stdout.end(exit.stdoutFinal));
    this.#sendWindow(stderr.end(exit.stderrFinal));
    this.#exit = exit;
    this.stdin.exited();
    this.stdout.finalKnown();
    this.stderr.finalKnown();
    this.#settleWhenComplete();
  }

  #sendWindow(window: Buffer | undefined): void {
    if (window !== undefined) this.#connection?.sendEncoded(window);
  }

  #streamFrame(frame: Frame, kind: StreamKind): void {
    if (kind === StreamKind.stdin || kind === StreamKind.control) {
      const stream = kind === StreamKind.stdin ? this.#stdinSend : this.#control.stream;
      if (frame.type === FrameType.WINDOW) stream.window(frame.offset, decodeWindow(frame.payload));
      else if (frame.type === FrameType.STOP) stream.stop();
      else throw violation(`${frameTypeName(frame.type)} for ${describeStream(frame.id)}`);
      return;
    }
    const [receive, output] =
      kind === StreamKind.stdout ? [this.#outputs[0], this.stdout] : [this.#outputs[1], this.stderr];
    if (frame.type === FrameType.DATA) output.receive(receive.data(frame.offset, frame.payload));
    else if (frame.type === FrameType.EOF) {
      this.#sendWindow(receive.end(frame.offset));
      output.finalKnown();
    } else throw violation(`${frameTypeName(frame.type)} for ${describeStream(frame.id)}`);
    this.#settleWhenComplete();
  }

  /** The exit is reported when all output is in this program's memory: what is unread can't be lost any more. */
  #settleWhenComplete(): void {
    if (this.#exit === undefined || this.#settled) return;
    for (const output of this.#outputs) {
      if (!output.stopped && output.expected < (output.final ?? Number.POSITIVE_INFINITY)) return;
    }
    this.#settledOnce.resolve(resultOfExit(this.#exit));
    this.#settle();
  }

  #settle(): void {
    this.#settled = true;
    this.#attachedOnce.resolve();
    this.#onSettled();
  }

  get #processId(): number {
    return streamId(this.handle.process, StreamKind.control);
  }
}

/** Random and not 0; different from the last one. */
function newGeneration(last: number): number {
  for (;;) {
    const generation = randomBytes(4).readUInt32LE();
    if (generation !== 0 && generation !== last) return generation;
  }
}
