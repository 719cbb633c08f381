/**
 * The agent's connection and its request server, given whatever a proxy sends: the connection ends with a
 * violation or goes on, each request is answered once, and what is sent is valid frames.
 */
import {
  type AgentHandlers,
  agentMethods,
  Connection,
  encodeFrame,
  encodePreamble,
  type Frame,
  FrameType,
  MORE,
  Request,
  RequestServer,
  Response,
  Role,
  RpcError,
} from '@coracle/wire';
import { preamble, vectors } from '../seeds.ts';
import { must, type Target } from '../target.ts';
import { MemoryTransport, turn } from '../transport.ts';

/** Answer at once, later, with an error, with something else than they should, or wait until nobody waits for them. */
const handlers = Object.fromEntries(
  Object.entries(agentMethods).map(([name, method], index) => {
    const answer = () => (method.responseType as { fromPartial(o: object): object }).fromPartial({});
    if (name === 'waitProcess') {
      return [
        name,
        (_: unknown, { signal }: { signal: AbortSignal }) =>
          new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(new RpcError('cancelled', 'nobody waits'))),
          ),
      ];
    }
    const kinds = [
      async () => answer(),
      async () => {
        await null;
        return answer();
      },
      async () => {
        throw new RpcError('not_found', 'no such thing');
      },
      async () => {
        throw new Error('a fault of its own');
      },
    ];
    return [name, kinds[index % kinds.length]];
  }),
) as unknown as AgentHandlers;

function request(id: number, method: string, key: string, payload = Buffer.alloc(0)): Buffer {
  const message = Request.encode({
    method,
    payload,
    idempotencyKey: key,
    timeoutMs: id % 3 ? 0 : 60_000,
  }).finish();
  return encodeFrame({ type: FrameType.REQUEST, id, payload: message });
}

/** What a proxy would have to be answered; undefined for ids where it depends on time. */
class Expected {
  readonly answers = new Map<number, number>();
  readonly uncertain = new Set<number>();
  readonly #parts = new Map<number, Buffer>();

  take(frame: Frame): void {
    if (frame.type === FrameType.CANCEL) {
      // It is answered too, and crosses the request's own answer or takes its place.
      this.answers.set(frame.id, (this.answers.get(frame.id) ?? 0) + 1);
      this.uncertain.add(frame.id);
    }
    if (frame.type !== FrameType.REQUEST) return;
    const bytes = Buffer.concat([this.#parts.get(frame.id) ?? Buffer.alloc(0), frame.payload]);
    this.#parts.delete(frame.id);
    if (frame.flags & MORE) {
      this.#parts.set(frame.id, bytes);
      return;
    }
    this.answers.set(frame.id, (this.answers.get(frame.id) ?? 0) + 1);
    try {
      const { method, idempotencyKey, timeoutMs } = Request.decode(bytes);
      if (method === 'WaitProcess' || idempotencyKey !== '' || timeoutMs > 0) this.uncertain.add(frame.id);
    } catch {
      // is answered with an error
    }
  }
}

export const target: Target = {
  format: 'frames',
  maxBytes: 8192,
  seeds: () => [
    ...vectors,
    ...Object.values(agentMethods).map(({ name }, index) =>
      request(1 + index, name, index % 2 ? `key-${index}` : ''),
    ),
    Buffer.concat([
      request(1, 'WaitProcess', 'a'),
      request(2, 'WaitProcess', 'a'),
      encodeFrame({ type: FrameType.CANCEL, id: 1 }),
    ]),
    Buffer.concat([
      request(1, 'StartContainer', 'a'),
      request(2, 'StartContainer', 'a'),
      encodePreamble({
        versionMin: 1,
        versionMax: 3,
        features: 1,
        epoch: Buffer.alloc(16, 3),
        echo: Buffer.alloc(16),
        role: Role.proxy,
      }),
      request(3, 'StartContainer', 'a'),
    ]),
    encodeFrame({ type: FrameType.REQUEST, id: 9, flags: MORE, payload: Buffer.from('0a') }),
  ],
  workLimit: (bytes) => 20_000 + 1500 * bytes,
  async run(input) {
    const transport = new MemoryTransport();
    const server = new RequestServer(handlers);
    let expected = new Expected();
    const connection = new Connection(
      transport,
      { role: Role.agent, opener: false },
      {
        open: () => {
          server.attach(connection);
          // Answers of the old epoch are dropped, and its bytes too.
          if (transport.frames.length > 0) expected = new Expected();
          transport.frames.length = 0;
          for (const id of expected.answers.keys()) expected.uncertain.add(id);
        },
        frame: (frame) => {
          expected.take(frame);
          if (frame.type === FrameType.REQUEST || frame.type === FrameType.CANCEL) server.handle(frame);
        },
        closed: () => {
          server.detach();
        },
      },
    );
    transport.receive(Buffer.concat([Buffer.alloc(70), preamble]));
    must(connection.isOpen && transport.preambles.length === 1, 'a preamble is answered');
    transport.receive(input);
    const open = connection.isOpen;
    await turn();
    const found = new Map<number, number>();
    for (const frame of transport.frames) {
      if (frame.type === FrameType.GOAWAY) continue;
      must(
        frame.type === FrameType.RESPONSE,
        `frame of type ${frame.type} from an agent that was asked nothing`,
      );
      Response.decode(frame.payload);
      found.set(frame.id, (found.get(frame.id) ?? 0) + 1);
    }
    for (const [id, answers] of expected.answers) {
      const count = found.get(id) ?? 0;
      must(count <= answers, `request ${id} is answered ${count} times`);
      if (open && !expected.uncertain.has(id))
        must(count === answers, `request ${id}: ${count} answers of ${answers}`);
    }
    connection.close(new RpcError('aborted', 'the input has ended'));
    transport.destroy();
  },
};
