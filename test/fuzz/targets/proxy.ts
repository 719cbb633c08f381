/**
 * The proxy between two clients and an agent, each of which sends what it likes: whoever breaks the rules
 * loses its own connection and nobody else's, and what the proxy sends is valid frames.
 */
import { encodeFrame, FrameType, RpcError } from '@coracle/wire';
import { ClientConnection } from '../../../packages/proxy/src/client-connection.ts';
import { Link } from '../../../packages/proxy/src/link.ts';
import { findFrames } from '../mutate.ts';
import { preamble, vectors } from '../seeds.ts';
import { must, type Target } from '../target.ts';
import { MemoryTransport, turn } from '../transport.ts';

type Side = 'a' | 'b' | 'agent';

/** Whose a frame is, by its generation, which means nothing to the proxy. Bytes between frames are client a's. */
const sides: readonly Side[] = ['a', 'a', 'b', 'agent'];

function* pieces(input: Buffer): Generator<{ side: Side; bytes: Buffer }> {
  let at = 0;
  for (const frame of findFrames(input)) {
    if (frame.at > at) yield { side: 'a', bytes: input.subarray(at, frame.at) };
    at = frame.end;
    yield {
      side: sides[input.readUInt32LE(frame.at + 12) % 4] as Side,
      bytes: input.subarray(frame.at, frame.end),
    };
  }
  if (at < input.length) yield { side: 'a', bytes: input.subarray(at) };
}

export const target: Target = {
  format: 'frames',
  maxBytes: 8192,
  seeds: () => {
    const of = (generation: number, fields: Parameters<typeof encodeFrame>[0]) =>
      encodeFrame({ ...fields, generation });
    const attach = (side: number) => of(side, { type: FrameType.ATTACH, id: 4, payload: Buffer.alloc(48) });
    const data = (side: number, id: number) =>
      of(side, { type: FrameType.DATA, id, payload: Buffer.from('data') });
    return [
      ...vectors,
      Buffer.concat([
        attach(1),
        data(1, 5),
        data(1, 4),
        data(3, 6),
        attach(2),
        data(1, 5),
        data(2, 5),
        data(3, 7),
      ]),
      Buffer.concat([
        of(1, { type: FrameType.REQUEST, id: 7, payload: Buffer.from('a') }),
        of(2, { type: FrameType.REQUEST, id: 7, payload: Buffer.from('b') }),
        of(3, { type: FrameType.RESPONSE, id: 1, payload: Buffer.from('c') }),
        of(1, { type: FrameType.CANCEL, id: 7 }),
        of(3, { type: FrameType.RESPONSE, id: 2, flags: 1, payload: Buffer.from('d') }),
      ]),
    ];
  },
  workLimit: (bytes) => 40_000 + 2000 * bytes,
  async run(input) {
    const transports = { a: new MemoryTransport(), b: new MemoryTransport(), agent: new MemoryTransport() };
    const closed = new Set<Side>();
    let acting: Side | undefined;
    const close = (side: Side): void => {
      must(acting === side || acting === 'agent', `what ${acting} sends ends the connection of ${side}`);
      closed.add(side);
    };
    const link = new Link('box-1', transports.agent.asSocket(), (_, reason) => {
      close('agent');
      for (const client of [...link.clients]) client.close(reason);
    });
    for (const side of ['a', 'b'] as const) {
      new ClientConnection(transports[side].asSocket(), {
        bind: (client) => link.addClient(client),
        closed: () => close(side),
      });
      transports[side].receive(
        Buffer.concat([preamble, encodeFrame({ type: FrameType.BIND, payload: Buffer.from('box-1') })]),
      );
    }
    const greeting = transports.agent.preambles[0];
    must(greeting !== undefined, 'the link greets');
    const answer = Buffer.from(preamble);
    greeting.epoch.copy(answer, 40);
    transports.agent.receive(answer);
    for (const { side, bytes } of pieces(input)) {
      acting = side;
      // The proxy changes ids in place, so the input is kept from it.
      transports[side].receive(Buffer.from(bytes));
    }
    acting = undefined;
    await turn();
    for (const frame of transports.agent.frames)
      must(frame.type <= FrameType.CANCEL || frame.type === FrameType.GOAWAY, 'what the agent gets');
    for (const side of ['a', 'b'] as const) {
      const bound = transports[side].frames.filter(({ type }) => type === FrameType.BOUND).length;
      must(bound === 1 || closed.has(side), `${side} is bound once`);
    }
    acting = 'agent';
    link.close(new RpcError('aborted', 'the input has ended'));
    for (const transport of Object.values(transports)) transport.destroy();
  },
};
