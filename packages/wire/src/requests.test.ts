/** Requests and RequestServer over real connections in memory, which are cut and replaced. */
import { type Duplex, duplexPair } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type AgentHandlers, agentMethods } from './agent-service.ts';
import { Connection } from './connection.ts';
import { RpcError } from './errors.ts';
import { encodeFrame, type Frame, FrameType } from './frame.ts';
import { Request, Response } from './gen/coracle/v1/link.ts';
import { MAX_MESSAGE_BYTES, MAX_REQUESTS, MAX_RUNNING_CALLS } from './limits.ts';
import { encodeMessage } from './message.ts';
import { Role } from './preamble.ts';
import { RequestServer } from './request-server.ts';
import { Requests } from './requests.ts';

const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 1 });

const transports: Duplex[] = [];
afterEach(() => {
  for (const transport of transports.splice(0)) transport.destroy();
});

/** Handlers that count and answer when the test lets them. */
function agent(rememberedBytes?: number) {
  const runs: string[] = [];
  const signals: AbortSignal[] = [];
  const gate = Promise.withResolvers<void>();
  const unused = async (): Promise<never> => {
    throw new RpcError('unimplemented', 'not in this test');
  };
  const handlers = {
    ...Object.fromEntries(Object.keys(agentMethods).map((name) => [name, unused])),
    pauseContainer: async ({ containerId }) => {
      runs.push(containerId);
      await gate.promise;
      return {};
    },
    resumeContainer: async () => {
      throw new RpcError('failed_precondition', 'it is not paused', { cause: new Error('crun says no') });
    },
    execProcess: async ({ execId }) => {
      runs.push(execId);
      return agentMethods.execProcess.responseType.fromPartial({
        process: { token: Buffer.alloc(Number(execId), 1) },
      });
    },
    waitProcess: ({ execId }, { signal }) => {
      runs.push(execId);
      signals.push(signal);
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new RpcError('cancelled', 'nobody waits')));
        gate.promise.then(() => resolve({ exit: undefined }));
      });
    },
  } satisfies Partial<AgentHandlers> as unknown as AgentHandlers;
  return { runs, signals, open: gate.resolve, server: new RequestServer(handlers, rememberedBytes) };
}

interface Link {
  readonly client: Connection;
  readonly server: Connection;
  readonly errors: RpcError[];
  readonly frames: Frame[];
  cut(): void;
}

/** A connection between the two sides, as client and agent drive it. */
async function connect(requests: Requests, server: RequestServer): Promise<Link> {
  const [a, b] = duplexPair();
  transports.push(a, b);
  const errors: RpcError[] = [];
  const frames: Frame[] = [];
  let open = 0;
  const client: Connection = new Connection(
    a,
    { role: Role.client, opener: true },
    {
      open: () => {
        open++;
        requests.attach(client);
      },
      frame: (frame) => {
        frames.push(frame);
        requests.handle(frame);
      },
      closed: (error) => {
        errors.push(error);
        requests.detach();
      },
    },
  );
  const answering: Connection = new Connection(
    b,
    { role: Role.agent, opener: false },
    {
      open: () => server.attach(answering),
      frame: (frame) => server.handle(frame),
      closed: (error) => {
        errors.push(error);
        server.detach();
      },
    },
  );
  await until(() => expect(open).toBe(1));
  return { client, server: answering, errors, frames, cut: () => a.destroy(new Error('cut')) };
}

const request = (fields: Partial<Request>): Uint8Array =>
  Request.encode({
    method: 'PauseContainer',
    payload: Buffer.alloc(0),
    idempotencyKey: 'key',
    timeoutMs: 0,
    ...fields,
  }).finish();

describe('a request', () => {
  it('is answered', async () => {
    const { server, open, runs } = agent();
    const requests = new Requests();
    await connect(requests, server);
    open();
    await expect(requests.call('pauseContainer', { containerId: 'web' })).resolves.toEqual({});
    expect(runs).toEqual(['web']);
  });

  it('fails with the code, message and cause of the agent', async () => {
    const requests = new Requests();
    await connect(requests, agent().server);
    const failure = requests.call('resumeContainer', { containerId: 'web' });
    await expect(failure).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: 'it is not paused',
      cause: 'crun says no',
    });
  });

  it('waits for a connection', async () => {
    const { server, open } = agent();
    open();
    const requests = new Requests();
    const answer = requests.call('pauseContainer', { containerId: 'web' });
    await connect(requests, server);
    await expect(answer).resolves.toEqual({});
  });

  it('of megabytes and its answer arrive whole', async () => {
    const { server, runs } = agent();
    const requests = new Requests();
    await connect(requests, server);
    const answer = await requests.call(
      'execProcess',
      agentMethods.execProcess.requestType.fromPartial({
        execId: String(3 << 20),
        process: Buffer.alloc(3 << 20, 2),
      }),
    );
    expect(answer.process?.token.length).toBe(3 << 20);
    expect(runs).toEqual([String(3 << 20)]);
  });

  it('above 4 MiB fails before it is sent', async () => {
    const requests = new Requests();
    await connect(requests, agent().server);
    const large = { containerId: 'x'.repeat(MAX_MESSAGE_BYTES) };
    await expect(requests.call('pauseContainer', large)).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
  });

  it('whose answer is above 4 MiB fails with resource_exhausted, and the agent lives', async () => {
    const { server } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const huge = requests.call(
      'execProcess',
      agentMethods.execProcess.requestType.fromPartial({ execId: String(5 << 20) }),
    );
    await expect(huge).rejects.toMatchObject({ code: 'resource_exhausted' });
    expect(link.errors).toEqual([]);
  });

  it('that is sent again runs once, and both get the answer', async () => {
    const { server, open, runs } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const answer = requests.call('pauseContainer', { containerId: 'web' });
    await until(() => expect(runs).toEqual(['web']));
    link.cut();
    await until(() => expect(link.errors.length).toBe(2));
    await connect(requests, server);
    open();
    await expect(answer).resolves.toEqual({});
    expect(runs).toEqual(['web']);
  });

  it('is answered once per request with the same key on one connection', async () => {
    const { server, open, runs } = agent();
    const link = await connect(new Requests(), server);
    for (const id of [7, 8])
      for (const frame of encodeMessage(FrameType.REQUEST, id, request({}))) link.client.sendEncoded(frame);
    await until(() => expect(runs.length).toBe(1));
    open();
    await until(() => expect(link.frames.map((frame) => frame.id).sort()).toEqual([7, 8]));
    // And after it has finished, from memory.
    for (const frame of encodeMessage(FrameType.REQUEST, 9, request({}))) link.client.sendEncoded(frame);
    await until(() => expect(link.frames.map((frame) => frame.id)).toContain(9));
    expect(runs.length).toBe(1);
  });

  /** WaitProcess is aborted when its connection goes, and asked again: `cancelled` must not be its answer. */
  it('that only waits is waited for again on the next connection', async () => {
    const { server, open, runs, signals } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const answer = requests.call('waitProcess', { containerId: 'web', execId: 'one' });
    await until(() => expect(runs).toEqual(['one']));
    link.cut();
    await until(() => expect(signals[0]?.aborted).toBe(true));
    await connect(requests, server);
    await until(() => expect(runs).toEqual(['one', 'one']));
    open();
    await expect(answer).resolves.toEqual({ exit: undefined });
  });

  it('that changes something runs on when it is aborted; one that waits ends', async () => {
    const { server, open, runs, signals } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const abort = new AbortController();
    const calls = [
      requests.call('pauseContainer', { containerId: 'web' }, { signal: abort.signal }),
      requests.call('waitProcess', { containerId: 'web', execId: 'one' }, { signal: abort.signal }),
    ];
    await until(() => expect(runs.sort()).toEqual(['one', 'web']));
    abort.abort();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'cancelled' });
    await until(() => expect(signals[0]?.aborted).toBe(true));
    open();
    await requests.call('execProcess', agentMethods.execProcess.requestType.fromPartial({ execId: '1' }));
    // Each CANCEL is answered, once, and what has run on is not: the proxy counts requests by their answers.
    const codes = link.frames.map(({ payload }) => Response.decode(payload).error?.code);
    expect(codes).toEqual([1, 1, undefined]);
  });

  it('ends at its deadline on both sides', async () => {
    const { server, runs } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const call = requests.call('pauseContainer', { containerId: 'web' }, { timeoutMs: 20 });
    await expect(call).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(runs).toEqual(['web']);
    const bytes = request({ timeoutMs: 5, idempotencyKey: 'other' });
    for (const frame of encodeMessage(FrameType.REQUEST, 4242, bytes)) link.client.sendEncoded(frame);
    const answer = () => link.frames.find(({ id }) => id === 4242);
    await until(() => expect(answer()).toBeDefined());
    expect(Response.decode(answer()?.payload ?? Buffer.alloc(0)).error?.code).toBe(4);
  });

  it('with a deadline in fifty days does not end at once', async () => {
    const { server, open, runs } = agent();
    const requests = new Requests();
    await connect(requests, server);
    const call = requests.call('pauseContainer', { containerId: 'web' }, { timeoutMs: 2 ** 32 });
    await until(() => expect(runs).toEqual(['web']));
    await new Promise((resolve) => setImmediate(resolve));
    open();
    await expect(call).resolves.toEqual({});
  });

  it('that is one too many fails by itself and leaves the others', async () => {
    const { server, open } = agent();
    const requests = new Requests();
    const link = await connect(requests, server);
    const calls = Array.from({ length: MAX_REQUESTS }, () =>
      requests.call('pauseContainer', { containerId: 'web' }),
    );
    await expect(requests.call('pauseContainer', { containerId: 'more' })).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
    open();
    expect((await Promise.all(calls)).length).toBe(MAX_REQUESTS);
    expect(link.errors).toEqual([]);
  });

  it('fails when no answer will come any more', async () => {
    const requests = new Requests();
    const call = requests.call('pauseContainer', { containerId: 'web' });
    requests.close(new RpcError('unavailable', 'the VM is gone'));
    await expect(call).rejects.toMatchObject({ code: 'unavailable' });
    await expect(requests.call('pauseContainer', { containerId: 'web' })).rejects.toMatchObject({
      code: 'unavailable',
    });
  });

  it('whose answer is garbage fails with internal', async () => {
    const requests = new Requests();
    const { server, open } = agent();
    open();
    await connect(requests, server);
    vi.spyOn(agentMethods.pauseContainer.responseType, 'decode').mockImplementationOnce(() => {
      throw new RangeError('index out of range');
    });
    const call = requests.call('pauseContainer', { containerId: 'web' });
    await expect(call).rejects.toMatchObject({ code: 'internal' });
  });
});

describe('the agent', () => {
  it.each([
    ['garbage', Buffer.from('ffffffff', 'hex')],
    ['a key without end', request({ idempotencyKey: 'k'.repeat(4096) })],
  ])('answers %s and keeps the link, which other clients use', async (_, bytes) => {
    const link = await connect(new Requests(), agent().server);
    for (const frame of encodeMessage(FrameType.REQUEST, 5, bytes)) link.client.sendEncoded(frame);
    await until(() => expect(link.frames.length).toBe(1));
    expect(Response.decode(link.frames[0]?.payload ?? Buffer.alloc(0)).error?.code).toBe(3);
    expect(link.errors).toEqual([]);
  });

  it('answers a method that it does not know', async () => {
    const link = await connect(new Requests(), agent().server);
    for (const frame of encodeMessage(FrameType.REQUEST, 5, request({ method: 'Nonsense' })))
      link.client.sendEncoded(frame);
    await until(() => expect(link.frames.length).toBe(1));
    expect(Response.decode(link.frames[0]?.payload ?? Buffer.alloc(0)).error?.code).toBe(12);
  });

  it.each([
    ['more requests than its clients may have', (i: number) => ({ id: i + 1, idempotencyKey: '' }), 1025],
    ['an id that is in use', () => ({ id: 1, idempotencyKey: '' }), 2],
  ])('ends a link with %s', async (_, make, count) => {
    const link = await connect(new Requests(), agent().server);
    for (let i = 0; i < count; i++) {
      const { id, idempotencyKey } = make(i);
      for (const frame of encodeMessage(FrameType.REQUEST, id, request({ idempotencyKey })))
        link.client.sendEncoded(frame);
    }
    await until(() => expect(link.errors[0]?.code).toBe('invalid_argument'));
  });

  it('forgets unfinished messages that are cancelled', async () => {
    const { server, open } = agent();
    open();
    const link = await connect(new Requests(), server);
    const [first] = encodeMessage(FrameType.REQUEST, 5, Buffer.alloc(100_000)) as [Buffer];
    for (let i = 0; i < 1000; i++) {
      link.client.sendEncoded(Buffer.from(first));
      link.client.sendEncoded(encodeFrame({ type: FrameType.CANCEL, id: 5 }));
    }
    for (const frame of encodeMessage(FrameType.REQUEST, 6, request({}))) link.client.sendEncoded(frame);
    await until(() => expect(link.frames.at(-1)?.id).toBe(6));
    expect(link.errors).toEqual([]);
  });

  it('refuses the message for which it has no room, and keeps the link', async () => {
    const { server, open } = agent();
    open();
    const link = await connect(new Requests(), server);
    // Nine of 4 MiB, all parts but the last: 32 MiB fit.
    const messages = Array.from({ length: 9 }, (_, i) =>
      encodeMessage(FrameType.REQUEST, i + 1, Buffer.alloc(4 * 1024 * 1024)),
    );
    for (const frames of messages) for (const frame of frames.slice(0, -1)) link.client.sendEncoded(frame);
    for (const frames of messages) link.client.sendEncoded(frames.at(-1) as Buffer);
    await until(() => expect(link.frames).toHaveLength(9));
    const refused = link.frames.filter(({ payload }) => Response.decode(payload).error?.code === 8);
    expect(refused.map(({ id }) => id)).toEqual([9]);
    expect(link.errors).toEqual([]);
  });

  it('refuses calls while too many run on that nobody waits for', async () => {
    const { server, open } = agent();
    const link = await connect(new Requests(), server);
    const ask = (id: number): void => {
      const bytes = request({ method: 'PauseContainer', idempotencyKey: `key ${id}` });
      for (const frame of encodeMessage(FrameType.REQUEST, id, bytes)) link.client.sendEncoded(frame);
    };
    const last = MAX_RUNNING_CALLS + 1;
    for (let id = 1; id < last; id++) {
      ask(id);
      link.client.sendEncoded(encodeFrame({ type: FrameType.CANCEL, id }));
    }
    ask(last);
    await until(() => expect(link.frames.at(-1)?.id).toBe(last));
    expect(Response.decode((link.frames.at(-1) as Frame).payload).error?.code).toBe(8);
    open();
  });

  /** Calls with a key of the test's own; the answer has `size` bytes, and some more. */
  async function caller(server: RequestServer): Promise<(key: string, size?: number) => Promise<void>> {
    const link = await connect(new Requests(), server);
    return async (key, size = 1) => {
      const before = link.frames.length;
      const payload = agentMethods.execProcess.requestType
        .encode(agentMethods.execProcess.requestType.fromPartial({ execId: String(size) }))
        .finish();
      const bytes = request({ method: 'ExecProcess', payload: Buffer.from(payload), idempotencyKey: key });
      for (const frame of encodeMessage(FrameType.REQUEST, 5, bytes)) link.client.sendEncoded(frame);
      while (link.frames.length === before) await new Promise((resolve) => setImmediate(resolve));
    };
  }

  it('remembers no more bytes of results than it may, the newest', async () => {
    const { server, runs } = agent(20_000);
    const call = await caller(server);
    for (const key of ['a', 'b', 'c']) await call(key, 8000);
    expect(runs.length).toBe(3);
    for (const key of ['b', 'c']) await call(key, 8000);
    expect(runs.length).toBe(3);
    await call('a', 8000);
    expect(runs.length).toBe(4);
    // One that is larger than all that may be remembered is answered, and forgotten.
    await call('large', 30_000);
    await call('large', 30_000);
    expect(runs.length).toBe(6);
  });

  it('remembers the last 1,024 keys and no more', async () => {
    const { server, runs } = agent();
    const call = await caller(server);
    for (let i = 0; i < 1025; i++) await call(`key ${i}`);
    expect(runs.length).toBe(1025);
    await call('key 1024');
    await call('key 1');
    expect(runs.length).toBe(1025);
    await call('key 0');
    expect(runs.length).toBe(1026);
  });

  it('remembers nothing after a rehearsal', async () => {
    const { server, runs } = agent();
    const call = await caller(server);
    await call('key');
    server.forgetAnswers();
    await call('key');
    expect(runs.length).toBe(2);
  });
});
