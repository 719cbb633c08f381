/**
 * An agent that does nothing but move bytes of process 1: the far end of the switch benchmark, made of the wire's
 * own parts.
 *
 *   node bench/switch/agent.ts SOCKET in|out
 */
import net from 'node:net';
import {
  Connection,
  decodeAttach,
  decodeWindow,
  encodeAttached,
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
} from '@coracle/wire';

const [socketPath = '', direction = 'out'] = process.argv.slice(2);
const SOURCE = Buffer.alloc(MAX_PAYLOAD_BYTES, 'coracle');
const NO_CREDIT = { delivered: 0, limit: 0 };

/** stdin and stdout of one process. */
class Ends {
  readonly #connection: Connection;
  readonly #stdin: ReceiveStream;
  readonly #stdout: SendStream;

  constructor(connection: Connection, process: number) {
    this.#connection = connection;
    this.#stdin = new ReceiveStream(streamId(process, StreamKind.stdin), STREAM_WINDOW_BYTES);
    this.#stdout = new SendStream(
      streamId(process, StreamKind.stdout),
      { ready: (stream) => connection.schedule(stream), room: () => this.#fill(), stopped: () => undefined },
      { retentionBytes: STREAM_WINDOW_BYTES },
    );
  }

  handle(frame: Frame): void {
    if (frame.type === FrameType.ATTACH) this.#attach(frame);
    else if (frame.type === FrameType.WINDOW) this.#stdout.window(frame.offset, decodeWindow(frame.payload));
    else if (frame.type === FrameType.DATA) {
      const window = this.#stdin.deliver(this.#stdin.data(frame.offset, frame.payload).length);
      if (window) this.#connection.sendEncoded(window);
    }
  }

  #attach({ id, generation, payload }: Frame): void {
    const { stdout } = decodeAttach(payload);
    const attached = encodeAttached({
      stdin: this.#stdin.attach(generation),
      control: NO_CREDIT,
      stdoutStart: this.#stdout.attach(stdout.delivered, stdout.limit, generation),
      stderrStart: 0,
    });
    this.#connection.send({ type: FrameType.ATTACHED, id, generation, payload: attached });
    if (direction === 'out') this.#fill();
  }

  #fill(): void {
    while (direction === 'out' && this.#stdout.room >= SOURCE.length) this.#stdout.push(SOURCE);
  }
}

net
  .createServer((socket) => {
    const processes = new Map<number, Ends>();
    const connection = new Connection(
      socket,
      { role: Role.agent, opener: false },
      {
        open: () => undefined,
        frame: (frame) => {
          const { process } = splitStreamId(frame.id);
          const ends = processes.get(process) ?? new Ends(connection, process);
          processes.set(process, ends);
          ends.handle(frame);
        },
        closed: () => undefined,
      },
    );
  })
  .listen(socketPath, () => process.stdout.write('ready\n'));
