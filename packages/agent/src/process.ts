/**
 * One process of a container: its streams on the link, its descriptors, its exit. States and rules are in
 * docs/processes.md; the frames in docs/protocol.md, sections 3 to 5.
 */

import { timingSafeEqual } from 'node:crypto';
import { close, decodeWaitStatus, kill, setWindowSize } from '@coracle/sys';
import {
  type Attach,
  CONTROL_WINDOW_BYTES,
  Code,
  type Connection,
  type ControlRecord,
  decodeAttach,
  decodeControlRecords,
  decodeWindow,
  describeStream,
  type ExitRecord,
  encodeAttached,
  encodeExit,
  encodeFailure,
  type Frame,
  FrameType,
  frameTypeName,
  isRpcError,
  ReceiveStream,
  RpcError,
  SendStream,
  STREAM_WINDOW_BYTES,
  StreamKind,
  splitStreamId,
  streamId,
  TOKEN_BYTES,
  violation,
} from '@coracle/wire';
import type { LinkCounters } from './counters.ts';
import { Input } from './input.ts';
import { log, reasonOf } from './log.ts';
import { Output } from './output.ts';
import type { RetentionBudget } from './retention.ts';
import type { Ends, Terminal } from './stdio.ts';

const SIGKILL = 9;

export interface Exit extends ExitRecord {
  /** Wall clock, nanoseconds since the epoch. */
  readonly exitedAtNs: bigint;
}

export interface ProcessOptions {
  readonly number: number;
  readonly token: Buffer;
  /** For logs: "web" or "web/exec-1". */
  readonly name: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  /** Of stdin, and what is kept of each output; the protocol's window unless given. */
  readonly windowBytes?: number;
  /** What all outputs of the VM share. */
  readonly budget: RetentionBudget;
  readonly counters: LinkCounters;
  /** Asked once when the process was killed by a SIGKILL that was not ours: was it for want of memory? */
  outOfMemory(): boolean;
}

export class Process {
  readonly #options: ProcessOptions;
  readonly #id: number;
  readonly #control: ReceiveStream;
  readonly #stdin: ReceiveStream;
  readonly #stdout: SendStream;
  readonly #stderr: SendStream;
  #input: Input | undefined;
  #output: Output | undefined;
  #errorOutput: Output | undefined;
  #terminal: Terminal | undefined;
  #attachment: { readonly connection: Connection; readonly generation: number } | undefined;
  #pid = 0;
  #killedByUs = false;
  #exit: Exit | undefined;
  #exitTold = false;
  readonly #exited = Promise.withResolvers<Exit>();

  constructor(options: ProcessOptions) {
    this.#options = options;
    const { number, windowBytes = STREAM_WINDOW_BYTES } = options;
    this.#id = number * 4;
    this.#control = new ReceiveStream(streamId(number, StreamKind.control), CONTROL_WINDOW_BYTES);
    this.#stdin = new ReceiveStream(streamId(number, StreamKind.stdin), windowBytes);
    const events = {
      ready: (stream: SendStream) => this.#attachment?.connection.schedule(stream),
      room: (stream: SendStream) => this.#outputOf(stream)?.onRoom(),
      stopped: (stream: SendStream) => this.#outputOf(stream)?.onStopped(),
      retransmitted: (bytes: number) => options.counters.addRetransmitted(bytes),
      stalled: () => options.counters.addStall(),
    };
    const retention = { retentionBytes: windowBytes };
    this.#stdout = new SendStream(streamId(number, StreamKind.stdout), events, retention);
    this.#stderr = new SendStream(streamId(number, StreamKind.stderr), events, retention);
    if (!options.stdin) this.#stdin.stop();
  }

  get number(): number {
    return this.#options.number;
  }
  get token(): Buffer {
    return this.#options.token;
  }
  get terminal(): boolean {
    return this.#options.terminal;
  }
  get stdin(): boolean {
    return this.#options.stdin;
  }
  get pid(): number {
    return this.#pid;
  }
  get exit(): Exit | undefined {
    return this.#exit;
  }
  /** Somebody was sent its exit: an owner, or whoever waited. */
  get exitTold(): boolean {
    return this.#exitTold;
  }
  /** Somebody who waited gets its exit. */
  tellExit(): void {
    this.#exitTold = true;
  }
  /** It has exited, and everything that it wrote was delivered. */
  get settled(): boolean {
    return this.#exit !== undefined && this.#stdout.done && this.#stderr.done;
  }
  /** Resolves when the exit is known; as often as it is asked. */
  get exited(): Promise<Exit> {
    return this.#exited.promise;
  }

  /** The descriptors are there; they belong to the process from now on. */
  connect(ends: Ends): void {
    const { terminal, budget } = this.#options;
    this.#terminal = ends.terminal;
    if (ends.stdin !== undefined) {
      if (this.#options.stdin) {
        this.#input = new Input(
          ends.stdin,
          { terminal },
          {
            delivered: (length) => {
              const window = this.#stdin.deliver(length);
              if (window) this.#attachment?.connection.sendEncoded(window);
            },
            closed: () => this.#stopStdin(),
          },
        );
      } else close(ends.stdin);
    }
    this.#output = new Output(ends.stdout, this.#stdout, { terminal, budget });
    if (ends.stderr === undefined) this.#stderr.finish();
    else this.#errorOutput = new Output(ends.stderr, this.#stderr, { terminal: false, budget });
  }

  started(pid: number): void {
    this.#pid = pid;
  }

  /** The reaper has its wait status: whatever it wrote is in the pipes or the pty. */
  onExit(waitStatus: number): void {
    this.#end(waitStatus, this.#causeOf(waitStatus));
  }

  /** Sends a signal. @returns false when the process has exited */
  signal(signal: number): boolean {
    if (this.#exit !== undefined || this.#pid === 0) return false;
    if (signal === SIGKILL) this.#killedByUs = true;
    return kill(this.#pid, signal);
  }

  /** A SIGKILL that goes to all of the container is ours too. */
  expectKill(): void {
    this.#killedByUs = true;
  }

  /**
   * A frame for this process has come. One that breaks the rules costs its sender the attachment and nobody
   * else anything: all clients of the sandbox share the link.
   */
  handle(frame: Frame, connection: Connection): void {
    if (frame.type === FrameType.ATTACH) {
      this.#attach(frame, connection);
      return;
    }
    // Sent before a re-attach, or by an owner of an earlier connection.
    if (this.#attachment === undefined || frame.generation !== this.#attachment.generation) return;
    try {
      this.#handleStream(frame);
    } catch (error) {
      if (!isRpcError(error) || error.code !== 'invalid_argument') throw error;
      const { generation } = this.#attachment;
      this.detach();
      this.#refuse(connection, generation, error);
    }
  }

  /** @throws RpcError invalid_argument when the frame breaks the rules */
  #handleStream(frame: Frame): void {
    const { kind } = splitStreamId(frame.id);
    if (kind === StreamKind.control) this.#handleControl(frame);
    else if (kind === StreamKind.stdin) this.#handleStdin(frame);
    else this.#handleOutput(frame, kind === StreamKind.stdout ? this.#stdout : this.#stderr);
  }

  /** The connection is gone. The process goes on until its output has no room. */
  detach(): void {
    this.#attachment = undefined;
    this.#stdout.detach();
    this.#stderr.detach();
  }

  /** Removed with its container: closes what is left. */
  dispose(): void {
    this.detach();
    this.#input?.close();
    this.#output?.dispose();
    this.#errorOutput?.dispose();
    this.#releaseTerminal();
  }

  #outputOf(stream: SendStream): Output | undefined {
    return stream === this.#stdout ? this.#output : this.#errorOutput;
  }

  #attach(frame: Frame, connection: Connection): void {
    const { generation } = frame;
    if (generation === 0) {
      this.#refuse(connection, generation, violation('ATTACH with generation 0'));
      return;
    }
    let attach: Attach;
    try {
      attach = this.#judge(frame.payload);
    } catch (error) {
      if (!isRpcError(error)) throw error;
      this.#refuse(connection, generation, error);
      return;
    }
    // From here on nothing fails: the former owner keeps its attachment unless this one has it.
    this.detach();
    this.#attachment = { connection, generation };
    const { stdout, stderr } = attach;
    const stdoutStart = this.#stdout.attach(stdout.delivered, stdout.limit, generation);
    const stderrStart = this.#stderr.attach(stderr.delivered, stderr.limit, generation);
    const stdin = this.#stdin.answerAttach(generation);
    const control = this.#control.answerAttach(generation);
    connection.send({
      type: FrameType.ATTACHED,
      id: this.#id,
      generation,
      payload: encodeAttached({ stdin, control, stdoutStart, stderrStart }),
    });
    // What an earlier connection may have lost; the SendStreams repeat EOF by themselves.
    // A stdin that an earlier owner has ended takes nothing from this one.
    if (this.#stdin.stopped || this.#stdin.sealed) connection.sendEncoded(this.#stdin.stopFrame());
    this.#sendExit();
    this.#output?.onRoom();
    this.#errorOutput?.onRoom();
  }

  /** @throws RpcError why it is refused; the token first, so that who has none learns nothing */
  #judge(payload: Buffer): Attach {
    if (!timingSafeEqual(payload.subarray(0, TOKEN_BYTES), this.#options.token))
      throw new RpcError('permission_denied', 'the token is wrong');
    const attach = decodeAttach(payload);
    this.#stdout.checkAttach(attach.stdout.delivered);
    this.#stderr.checkAttach(attach.stderr.delivered);
    return attach;
  }

  #refuse(connection: Connection, generation: number, reason: RpcError): void {
    const message = `cannot attach to ${this.#options.name}: ${reason.reason}`;
    connection.send({
      type: FrameType.REFUSED,
      id: this.#id,
      generation,
      payload: encodeFailure(Code[reason.code], message),
    });
  }

  #handleControl(frame: Frame): void {
    if (frame.type !== FrameType.DATA && frame.type !== FrameType.EOF) throw unexpected(frame);
    if (frame.type === FrameType.EOF) return;
    const bytes = this.#control.data(frame.offset, frame.payload);
    for (const record of decodeControlRecords(bytes)) this.#obey(record);
    const window = this.#control.deliver(bytes.length);
    if (window) this.#attachment?.connection.sendEncoded(window);
  }

  #obey(record: ControlRecord): void {
    try {
      if (record.kind === 'signal') this.signal(record.signal);
      else this.resize(record.columns, record.rows);
    } catch (error) {
      // A real-time signal with a full queue, say: it concerns this process only.
      log('warn', `${record.kind} failed`, { process: this.#options.name, reason: reasonOf(error) });
    }
  }

  resize(columns: number, rows: number): void {
    if (this.#terminal && this.#exit === undefined) setWindowSize(this.#terminal.master, { columns, rows });
  }

  #handleStdin(frame: Frame): void {
    if (frame.type === FrameType.DATA) {
      const bytes = this.#stdin.data(frame.offset, frame.payload);
      if (bytes.length > 0) {
        this.#output?.onInput();
        this.#isolate('stdin', () => this.#input?.write(bytes));
      }
    } else if (frame.type === FrameType.EOF) {
      const window = this.#stdin.end(frame.offset);
      if (window) this.#attachment?.connection.sendEncoded(window);
    } else throw unexpected(frame);
    // EOF carries the final offset, since as a control frame it may overtake the last DATA.
    if (this.#stdin.expected === this.#stdin.final) this.#isolate('stdin', () => this.#input?.end());
  }

  #handleOutput(frame: Frame, stream: SendStream): void {
    if (frame.type === FrameType.WINDOW) stream.window(frame.offset, decodeWindow(frame.payload));
    else if (frame.type === FrameType.STOP) stream.stop();
    else throw unexpected(frame);
  }

  /** A descriptor that fails in an unforeseen way ends this process's stream and nobody else's. */
  #isolate(stream: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      log('error', `${stream} failed`, { process: this.#options.name, reason: reasonOf(error) });
      this.#input?.close();
      this.#stopStdin();
    }
  }

  #stopStdin(): void {
    const stop = this.#stdin.stop();
    this.#attachment?.connection.sendEncoded(stop);
  }

  #causeOf(waitStatus: number): Pick<ExitRecord, 'cause' | 'message'> {
    const status = decodeWaitStatus(waitStatus);
    if (status.kind === 'exited') return { cause: 'exited', message: '' };
    if (status.signalNumber === SIGKILL && !this.#killedByUs && this.#options.outOfMemory()) {
      return { cause: 'out_of_memory', message: 'killed by the kernel: the container is out of memory' };
    }
    return { cause: 'signalled', message: '' };
  }

  #end(waitStatus: number, cause: Pick<ExitRecord, 'cause' | 'message'>): void {
    if (this.#exit !== undefined) return;
    const stdoutFinal = this.#output?.onExit() ?? 0;
    const stderrFinal = this.#errorOutput?.onExit() ?? 0;
    const exitedAtNs = BigInt(Date.now()) * 1_000_000n;
    this.#exit = { ...cause, waitStatus, stdoutFinal, stderrFinal, exitedAtNs };
    this.#input?.close();
    if (!this.#stdin.stopped) this.#stopStdin();
    this.#releaseTerminal();
    this.#sendExit();
    log('debug', 'exited', { process: this.#options.name, pid: this.#pid, waitStatus, cause: cause.cause });
    this.#exited.resolve(this.#exit);
  }

  #sendExit(): void {
    if (this.#exit === undefined || this.#attachment === undefined) return;
    this.#exitTold = true;
    const { connection, generation } = this.#attachment;
    const exit = {
      ...this.#exit,
      // An output that was stopped after the process had been reaped ends where it was stopped.
      stdoutFinal: this.#stdout.final ?? this.#exit.stdoutFinal,
      stderrFinal: this.#stderr.final ?? this.#exit.stderrFinal,
    };
    connection.send({ type: FrameType.EXIT, id: this.#id, generation, payload: encodeExit(exit) });
  }

  #releaseTerminal(): void {
    if (this.#terminal?.slave !== undefined) close(this.#terminal.slave);
    this.#terminal = undefined;
  }
}

function unexpected(frame: Frame): RpcError {
  return violation(`${frameTypeName(frame.type)} for ${describeStream(frame.id)}`);
}
