/** A client that does nothing but move bytes of process 1 through the proxy; frames are judged, bytes are counted. */
import net from 'node:net';
import {
  Connection,
  decodeAttached,
  decodeWindow,
  encodeAttach,
  type Frame,
  FrameType,
  MAX_PAYLOAD_BYTES,
  ReceiveStream,
  Role,
  SendStream,
  STREAM_WINDOW_BYTES,
  StreamKind,
  splitStreamId,
  streamId,
  TOKEN_BYTES,
} from '@coracle/wire';

export type Direction = 'in' | 'out';

const PROCESS = 1;
const GENERATION = 1;
const READ_BYTES = 1024 * 1024;
const SOURCE = Buffer.alloc(MAX_PAYLOAD_BYTES, 'coracle');

export class SwitchClient implements Disposable {
  readonly #direction: Direction;
  readonly #socket: net.Socket;
  readonly #connection: Connection;
  readonly #stdin: SendStream;
  readonly #stdout = new ReceiveStream(streamId(PROCESS, StreamKind.stdout), STREAM_WINDOW_BYTES);
  #failure: Error | undefined;

  constructor(socketPath: string, sandboxId: string, direction: Direction) {
    this.#direction = direction;
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    this.#socket = net.connect({
      path: socketPath,
      onread: {
        buffer,
        callback: (count) => {
          this.#connection.receive(buffer.subarray(0, count));
          return true;
        },
      },
    });
    this.#connection = new Connection(
      this.#socket,
      { role: Role.client, opener: true, manualReceive: true },
      {
        open: () =>
          this.#connection.send({ type: FrameType.BIND, payload: Buffer.from(sandboxId, 'latin1') }),
        frame: (frame) => this.#frame(frame),
        closed: (error) => {
          this.#failure = error;
        },
      },
    );
    this.#stdin = new SendStream(
      streamId(PROCESS, StreamKind.stdin),
      {
        ready: (stream) => this.#connection.schedule(stream),
        room: () => this.#fill(),
        stopped: () => undefined,
      },
      { retentionBytes: STREAM_WINDOW_BYTES },
    );
  }

  /** Bytes delivered so far, at whichever end. @throws why the connection has ended */
  get bytes(): number {
    if (this.#failure !== undefined) throw this.#failure;
    return this.#direction === 'out' ? this.#stdout.delivered : this.#stdin.base;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #frame(frame: Frame): void {
    if (frame.type === FrameType.BOUND) this.#attach();
    else if (frame.type === FrameType.ATTACHED) {
      const { stdin } = decodeAttached(frame.payload);
      this.#stdin.resume(stdin.delivered, stdin.limit, GENERATION);
      this.#fill();
    } else if (frame.type === FrameType.WINDOW) this.#stdin.window(frame.offset, decodeWindow(frame.payload));
    else if (frame.type === FrameType.DATA && splitStreamId(frame.id).kind === StreamKind.stdout) {
      const window = this.#stdout.deliver(this.#stdout.data(frame.offset, frame.payload).length);
      if (window) this.#connection.sendEncoded(window);
    }
  }

  #attach(): void {
    const stdout = this.#stdout.attach(GENERATION);
    const payload = encodeAttach({
      token: Buffer.alloc(TOKEN_BYTES),
      stdout,
      stderr: { delivered: 0, limit: 0 },
    });
    this.#connection.send({
      type: FrameType.ATTACH,
      id: streamId(PROCESS, StreamKind.control),
      generation: GENERATION,
      payload,
    });
  }

  #fill(): void {
    while (this.#direction === 'in' && this.#stdin.room >= SOURCE.length) this.#stdin.push(SOURCE);
  }
}
