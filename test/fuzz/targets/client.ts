/**
 * A client's process and its calls, given whatever an agent sends, before and after ATTACHED: the connection
 * ends with a violation or goes on, promises are settled at most once and never by a crash, what is sent is
 * valid frames, and output that nobody reads stays within its window.
 */
import {
  agentMethods,
  Connection,
  encodeFrame,
  FrameType,
  Requests,
  Response,
  Role,
  RpcError,
  STREAM_WINDOW_BYTES,
  splitStreamId,
} from '@coracle/wire';
import { Channel } from '../../../packages/client/src/channel.ts';
import { findFrames } from '../mutate.ts';
import { preamble, vectors } from '../seeds.ts';
import { must, type Target } from '../target.ts';
import { MemoryTransport, turn } from '../transport.ts';

const attached = Buffer.alloc(48);
attached.writeUInt32LE(1 << 20, 8);
attached.writeUInt32LE(1024, 24);

export const target: Target = {
  format: 'frames',
  maxBytes: 8192,
  seeds: () => {
    const of = (fields: Parameters<typeof encodeFrame>[0]) => encodeFrame({ generation: 1, ...fields });
    const start = of({ type: FrameType.ATTACHED, id: 4, payload: attached });
    const window = Buffer.alloc(8);
    window.writeUInt32LE(2 << 20, 0);
    const exit = Buffer.alloc(28, 0);
    exit.writeUInt32LE(1, 0);
    exit.writeUInt32LE(4, 8);
    return [
      ...vectors,
      start,
      Buffer.concat([
        start,
        of({ type: FrameType.DATA, id: 6, payload: Buffer.from('data') }),
        of({ type: FrameType.EXIT, id: 4, payload: exit }),
      ]),
      Buffer.concat([
        start,
        of({ type: FrameType.WINDOW, id: 5, offset: 4, payload: window }),
        of({ type: FrameType.STOP, id: 5 }),
      ]),
      Buffer.concat([
        start,
        of({ type: FrameType.EOF, id: 7, offset: 0 }),
        of({ type: FrameType.DATA, id: 6, payload: Buffer.alloc(900) }),
      ]),
      of({
        type: FrameType.RESPONSE,
        id: 1,
        payload: Buffer.from(Response.encode({ payload: Buffer.alloc(0) }).finish()),
      }),
      of({
        type: FrameType.RESPONSE,
        id: 2,
        payload: Buffer.from(Response.encode({ error: { code: 5, message: 'no', cause: 'none' } }).finish()),
      }),
    ];
  },
  workLimit: (bytes) => 40_000 + 2000 * bytes,
  async run(input) {
    const transport = new MemoryTransport();
    let generation = 0;
    transport.onFrame = (frame) => {
      if (frame.type === FrameType.ATTACH) generation = frame.generation;
    };
    const requests = new Requests();
    const handle = { process: 1, token: Buffer.alloc(16), terminal: false, stdin: true, pid: 0 };
    const channel = new Channel(
      handle,
      { stdout: 'pipe', stderr: 'pipe', sole: (input[0] ?? 0) % 2 === 0 },
      () => undefined,
    );
    const connection = new Connection(
      transport,
      { role: Role.client, opener: true },
      {
        open: () => {
          requests.attach(connection);
          channel.attach(connection);
        },
        frame: (frame) => {
          if (frame.type === FrameType.RESPONSE) requests.handle(frame);
          else if (splitStreamId(frame.id).process === 1) channel.receive(frame);
        },
        closed: () => {
          requests.detach();
          channel.detach();
        },
      },
    );
    const swallow = () => undefined;
    for (const stream of [channel.stdin, channel.stdout, channel.stderr])
      (stream as unknown as NodeJS.EventEmitter).on?.('error', swallow);
    const calls = [agentMethods.startContainer, agentMethods.listProcesses].map((_, index) =>
      requests
        .call(index ? 'listProcesses' : 'startContainer', {} as never)
        .catch((error: unknown) =>
          must(error instanceof RpcError, `a call fails with an RpcError, not ${error}`),
        ),
    );
    channel.control({ kind: 'signal', signal: 15 });
    const answer = Buffer.from(preamble);
    const greeting = transport.preambles[0];
    must(greeting !== undefined, 'a client greets');
    greeting.epoch.copy(answer, 40);
    transport.receive(answer);
    await turn();
    must(generation !== 0, 'a client attaches');
    let at = 0;
    for (const frame of findFrames(input)) {
      if (frame.at > at) transport.receive(input.subarray(at, frame.at));
      at = frame.end;
      const bytes = Buffer.from(input.subarray(frame.at, frame.end));
      if (bytes.readUInt32LE(12) === 1) bytes.writeUInt32LE(generation, 12);
      transport.receive(bytes);
    }
    transport.receive(input.subarray(at));
    await turn();
    must(input.length <= STREAM_WINDOW_BYTES, 'an input is smaller than a window');
    connection.close(new RpcError('aborted', 'the input has ended'));
    requests.close(new RpcError('aborted', 'the input has ended'));
    channel.fail(new RpcError('aborted', 'the input has ended'));
    await Promise.all(calls);
    await channel.result.catch(swallow);
    transport.destroy();
  },
};
