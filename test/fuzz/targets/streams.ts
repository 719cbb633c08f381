/**
 * Both ends of a numbered stream, with calls in any order and numbers near those that decide something. The
 * peer's mistakes are violations and nothing else; the sizes hold after every call.
 */
import { isRpcError, ReceiveStream, SendStream } from '@coracle/wire';
import { must, type Target } from '../target.ts';

const WINDOW = 4096;

function allowed(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!isRpcError(error) || !['invalid_argument', 'data_loss', 'out_of_range'].includes(error.code))
      throw error;
  }
}

/** Reads a program: what is behind its end is zeros. */
class Program {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  /** One of `bases`, or an edge, and up to 128 more or less. */
  near(...bases: (number | undefined)[]): number {
    const all = [...bases, 0, 2 ** 32, 2 ** 52, 2 ** 53 - 1];
    const base = all[this.byte() % all.length] ?? 0;
    return Math.min(2 ** 53 - 1, Math.max(0, base + this.byte() - 128));
  }
}

function driveSender(program: Program, id: number): void {
  let rooms = 0;
  const stream: SendStream = new SendStream(
    id,
    {
      ready: () => undefined,
      room: () => rooms++,
      stopped: () => must(stream.stopped, 'STOP is told when it has come'),
    },
    { retentionBytes: WINDOW },
  );
  let generation = 0;
  while (!program.ended) {
    const op = program.byte() % 9;
    if (op === 0 && stream.final === undefined && stream.room > 0)
      stream.push(Buffer.alloc(Math.min(stream.room, 1 + program.byte() * 16), 1));
    else if (op === 1) stream.finish();
    else if (op === 2)
      allowed(() =>
        stream.attach(
          program.near(stream.base, stream.next, stream.end),
          program.near(stream.end, stream.limit),
          ++generation,
        ),
      );
    else if (op === 3)
      allowed(() =>
        stream.resume(
          program.near(stream.base, stream.next, stream.end),
          program.near(stream.end, stream.limit),
          ++generation,
        ),
      );
    else if (op === 4) stream.detach();
    else if (op === 5)
      allowed(() =>
        stream.window(
          program.near(stream.base, stream.next, stream.end),
          program.near(stream.limit, stream.end),
        ),
      );
    else if (op === 6 && program.byte() % 8 === 0) stream.stop();
    else {
      const frame = stream.pull();
      must(frame === undefined || frame.length <= 32_768, 'a frame is small enough');
    }
    must(
      stream.next <= stream.end && stream.base <= stream.end,
      `base ${stream.base}, next ${stream.next}, end ${stream.end}`,
    );
    must(stream.stopped || stream.end - stream.base <= WINDOW, `${stream.end - stream.base} bytes are kept`);
    must(
      stream.final === undefined || stream.final <= stream.end || stream.stopped,
      'it ends where its bytes end',
    );
  }
}

function driveReceiver(program: Program, id: number): void {
  const stream = new ReceiveStream(id, WINDOW);
  let generation = 0;
  const payload = Buffer.alloc(8192, 2);
  while (!program.ended) {
    const op = program.byte() % 9;
    const before = stream.expected;
    if (op === 0) stream.attach(++generation);
    else if (op === 1) stream.answerAttach(++generation);
    else if (op === 2) allowed(() => stream.startAt(program.near(stream.expected, stream.delivered)));
    else if (op === 3) allowed(() => void stream.end(program.near(stream.expected, stream.final)));
    else if (op === 4) stream.deliver(Math.min(stream.held, program.byte() * 32));
    else if (op === 5 && program.byte() % 8 === 0) stream.stop();
    else
      allowed(() => {
        const length = 1 + program.byte() * 16;
        const offset = Math.min(
          2 ** 53 - 1 - length,
          op === 6 ? program.near(stream.expected) : stream.expected,
        );
        const taken = stream.data(offset, payload.subarray(0, length));
        must(
          stream.stopped || taken.length === stream.expected - before || taken.length === 0,
          'it takes what is new',
        );
      });
    must(stream.expected >= before, 'what was expected never goes back');
    must(stream.delivered <= stream.expected && stream.held <= WINDOW, `${stream.held} bytes are held`);
  }
}

export const target: Target = {
  format: 'bytes',
  maxBytes: 512,
  seeds: () => [
    Buffer.of(0, 0, 9, 2, 0, 200, 8, 8, 5, 1, 200, 0, 128),
    Buffer.of(3, 0, 6, 4, 9, 4, 0, 3, 0, 128),
  ],
  workLimit: (bytes) => 10_000 + 1000 * bytes,
  run(input) {
    const program = new Program(input);
    const kind = program.byte();
    if (kind & 1) driveReceiver(program, 4 + ((kind >> 1) & 3));
    else driveSender(program, 4 + ((kind >> 1) & 3));
  },
};
