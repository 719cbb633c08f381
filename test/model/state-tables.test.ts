/**
 * The tables of docs/protocol.md for a client's attachment and for the proxy's client, against the code: cell by cell,
 * over real connections in memory. The streams' own tables are checked in packages/wire/src/state-tables.test.ts.
 */
import { duplexPair } from 'node:stream';
import {
  Code,
  Connection,
  type ConnectionEvents,
  encodeAttached,
  encodeExit,
  encodeFailure,
  encodeWindow,
  type Frame,
  type FrameFields,
  FrameType,
  frameTypeName,
  Role,
  RpcError,
} from '@coracle/wire';
import { expect, test } from 'vitest';
import { Channel } from '../../packages/client/src/channel.ts';
import type { DialledTransport } from '../../packages/proxy/src/dial.ts';
import { ProxyServer } from '../../packages/proxy/src/proxy-server.ts';
import { checkTable, now, type Outcome, tableOf } from '../../packages/wire/src/testing/state-table.ts';

const fault = 'invalid_argument';

/** One end of a connection: what has come, and how it ended. */
class Peer {
  readonly connection: Connection;
  frames: Frame[] = [];
  opened = 0;
  ended: RpcError | undefined;

  constructor(transport: ReturnType<typeof duplexPair>[0], role: Role, opener: boolean) {
    const events: ConnectionEvents = {
      open: () => void this.opened++,
      frame: (frame) => void this.frames.push(frame),
      closed: (error) => {
        this.ended = error;
      },
    };
    this.connection = new Connection(transport, { role, opener }, events);
  }

  /** What has come, in words; each is told once. */
  told(): string {
    return this.frames
      .splice(0)
      .map(({ type }) => frameTypeName(type))
      .join(' ');
  }
}

/** Both ends are in this process: whatever was sent has come after a few turns of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

// --- A client's attachment of a process.

const PROCESS = 5;
const token = Buffer.alloc(16, 7);
const handle = { process: PROCESS, token, terminal: false, stdin: true, pid: 1 };

class AttachmentCase {
  readonly channel = new Channel(handle, { stdout: 'pipe', stderr: 'pipe', sole: true }, () => undefined);
  /** The proxy's end of the present connection. */
  peer: Peer | undefined;
  mine: Peer | undefined;
  #generation = 0;

  async bind(): Promise<void> {
    const [here, there] = duplexPair();
    this.peer = new Peer(there, Role.proxy, false);
    this.mine = new Peer(here, Role.client, true);
    await settle();
    this.channel.attach(this.mine.connection);
    await settle();
    this.#generation = this.peer.frames.at(-1)?.generation ?? 0;
  }

  /** As the session gives it to the channel. */
  receive(fields: Omit<FrameFields, 'generation'>): void {
    const { type, id, offset = 0, payload = Buffer.alloc(0) } = fields;
    const frame = { type, id: id ?? PROCESS * 4, generation: this.#generation, offset, payload, flags: 0 };
    this.channel.receive({ ...frame, encoded: payload } as Frame);
  }

  attached(stdoutStart = 0): void {
    const credit = { delivered: 0, limit: 1024 };
    const payload = encodeAttached({ stdin: credit, control: credit, stdoutStart, stderrStart: 0 });
    this.receive({ type: FrameType.ATTACHED, payload });
  }

  output(offset: number, text: string): void {
    this.receive({ type: FrameType.DATA, id: PROCESS * 4 + 2, offset, payload: Buffer.from(text) });
  }

  exit(stdoutFinal: number): void {
    const exit = { cause: 'exited', waitStatus: 0, stdoutFinal, stderrFinal: 0, message: '' } as const;
    this.receive({ type: FrameType.EXIT, payload: encodeExit(exit) });
  }

  lose(): void {
    this.channel.detach();
    this.mine?.connection.close(new RpcError('aborted', 'lost'));
  }

  static async in(state: string): Promise<AttachmentCase> {
    const made = new AttachmentCase();
    if (state === 'waiting') return made;
    await made.bind();
    if (state === 'attaching') return made;
    made.attached();
    if (state === 'attached') return made;
    if (state === 'draining') made.exit(4);
    if (state === 'ended') made.exit(0);
    if (state === 'failed')
      made.receive({ type: FrameType.REFUSED, payload: encodeFailure(Code.not_found, 'gone') });
    return made;
  }

  /** Found out by what it does: an attached one takes a stream's frame, an attaching one says what it stops. */
  async state(): Promise<string> {
    const { channel } = this;
    if (channel.settled) {
      return await channel.result.then(
        () => 'ended',
        () => 'failed',
      );
    }
    try {
      this.receive({ type: FrameType.WINDOW, id: PROCESS * 4 + 1, payload: encodeWindow(1 << 20) });
      return channel.exited ? 'draining' : 'attached';
    } catch {
      await settle();
      this.peer?.told();
      channel.stderr.destroy();
      await settle();
      return this.peer?.told() === 'STOP' ? 'attaching' : 'waiting';
    }
  }
}

test("a client's attachment has the states of docs/protocol.md", async () => {
  const events: Record<string, (made: AttachmentCase) => unknown> = {
    'connection bound': async (made) => made.bind(),
    'connection lost': (made) => made.lose(),
    ATTACHED: (made) => made.attached(),
    "a stream's frame": (made) => made.output(0, 'abcd'),
    EXIT: (made) => made.exit(4),
    'REFUSED or DETACHED': (made) => made.receive({ type: FrameType.DETACHED }),
  };
  const never = [/^–$/, now('', '–')] as const;
  await checkTable(
    tableOf("attachment's state"),
    {
      waiting: {
        'connection bound': [/^ATTACH, → `attaching`/, now('attaching', 'ATTACH')],
        'connection lost': never,
        ATTACHED: never,
        "a stream's frame": never,
        EXIT: never,
        'REFUSED or DETACHED': never,
      },
      attaching: {
        'connection bound': never,
        'connection lost': [/→ `waiting`/, now('waiting')],
        ATTACHED: [/→ `attached`/, now('attached')],
        "a stream's frame": [/^fault$/, now('attaching', fault)],
        EXIT: [/^fault$/, now('attaching', fault)],
        'REFUSED or DETACHED': [/→ `failed`/, now('failed')],
      },
      attached: {
        'connection bound': never,
        'connection lost': [/→ `waiting`/, now('waiting')],
        ATTACHED: [/^fault$/, now('attached', fault)],
        "a stream's frame": [/^to its stream$/, now('attached')],
        EXIT: [/stdin ends.*→ `draining`.*→ `ended`/, now('draining', 'EOF')],
        'REFUSED or DETACHED': [/→ `failed`/, now('failed')],
      },
      draining: {
        'connection bound': never,
        'connection lost': [/→ `waiting`/, now('waiting')],
        ATTACHED: [/^fault$/, now('draining', fault)],
        "a stream's frame": [/the last byte: → `ended`/, now('ended', 'WINDOW')],
        EXIT: [/^nothing$/, now('draining')],
        'REFUSED or DETACHED': [/→ `failed`/, now('failed')],
      },
      ended: {
        'connection bound': never,
        'connection lost': [/^nothing$/, now('ended')],
        ATTACHED: [/^nothing$/, now('ended')],
        "a stream's frame": [/^nothing$/, now('ended')],
        EXIT: [/^nothing$/, now('ended')],
        'REFUSED or DETACHED': [/^nothing$/, now('ended')],
      },
      failed: {
        'connection bound': never,
        'connection lost': [/^nothing$/, now('failed')],
        ATTACHED: [/^nothing$/, now('failed')],
        "a stream's frame": [/^nothing$/, now('failed')],
        EXIT: [/^nothing$/, now('failed')],
        'REFUSED or DETACHED': [/^nothing$/, now('failed')],
      },
    },
    async (state, event) => {
      const made = await AttachmentCase.in(state);
      made.peer?.told();
      let says = '';
      try {
        await events[event]?.(made);
      } catch (error) {
        says = (error as RpcError).code;
      }
      await settle();
      says ||= made.peer?.told() ?? '';
      return now(await made.state(), says);
    },
  );
});

test('an attachment that finds a gap has failed, and one whose output was here ends with EXIT', async () => {
  const gap = await AttachmentCase.in('attaching');
  gap.attached(3);
  expect(await gap.state()).toBe('failed');
  await expect(gap.channel.result).rejects.toMatchObject({ code: 'data_loss' });
  const complete = await AttachmentCase.in('attached');
  complete.output(0, 'abcd');
  complete.exit(4);
  expect(await complete.state()).toBe('ended');
  const again = await AttachmentCase.in('draining');
  again.lose();
  await again.bind();
  again.attached();
  expect(await again.state()).toBe('draining');
});

// --- The proxy's client.

class ClientCase {
  client: Peer;
  readonly #raw: ReturnType<typeof duplexPair>[0];
  readonly #link = Promise.withResolvers<DialledTransport>();
  agent: Peer | undefined;

  constructor() {
    const proxy = new ProxyServer({ sandboxes: '/nowhere', maxClients: 10, dial: () => this.#link.promise });
    const [here, there] = duplexPair();
    this.#raw = here;
    this.client = new Peer(here, Role.client, true);
    proxy.accept(there);
  }

  ended(): RpcError | undefined {
    return this.client.ended;
  }

  bind(): void {
    this.client.connection.send({ type: FrameType.BIND, payload: Buffer.from('box') });
  }

  async openLink(): Promise<void> {
    const [here, there] = duplexPair();
    this.agent = new Peer(there, Role.agent, false);
    this.#link.resolve({ socket: here, flush: false });
    await settle();
  }

  endLink(): void {
    if (this.agent) this.agent.connection.close(new RpcError('aborted', 'the agent goes'));
    else this.#link.reject(new RpcError('unavailable', 'nobody there'));
  }

  /** Another program goes on with the same connection. */
  greetAgain(): void {
    for (const event of ['data', 'end', 'close', 'error']) this.#raw.removeAllListeners(event);
    this.client = new Peer(this.#raw, Role.client, true);
  }

  static async in(state: string): Promise<ClientCase> {
    const made = new ClientCase();
    await settle();
    if (state !== 'unbound') made.bind();
    if (state === 'bound') await made.openLink();
    if (state === 'closed') made.client.connection.close(new RpcError('cancelled', 'done'));
    await settle();
    return made;
  }

  /** Of those that live, a bound one's frames reach the agent, and only an unbound one may still bind. */
  async state(): Promise<string> {
    if (this.ended()) return 'closed';
    this.agent?.told();
    this.client.connection.send({ type: FrameType.CANCEL, id: 9 });
    await settle();
    const why = this.ended();
    if (why === undefined) return 'bound';
    return /before BOUND/.test(why.message) ? 'binding' : 'unbound';
  }
}

test("the proxy's client has the states of docs/protocol.md", async () => {
  const payload = Buffer.concat([token, Buffer.alloc(32)]);
  const events: Record<string, (made: ClientCase) => unknown> = {
    BIND: (made) => made.bind(),
    'a frame for the agent': (made) =>
      made.client.connection.send({ type: FrameType.ATTACH, id: 4, generation: 1, payload }),
    'any other frame': (made) => made.client.connection.send({ type: FrameType.BOUND }),
    'a second preamble': (made) => made.greetAgain(),
    'the link opens': (made) => made.openLink(),
    'the link ends': (made) => made.endLink(),
    'its connection ends': (made) => made.client.connection.close(new RpcError('cancelled', 'done')),
  };
  const never = [/^–$/, now('', '–')] as const;
  const faulty = [/^fault$/, now('closed', fault)] as const;
  const gone = [/→ `closed`/, now('closed', 'cancelled')] as const;
  await checkTable(
    tableOf("client's state at the proxy"),
    {
      unbound: {
        BIND: [/→ `binding`/, now('binding')],
        'a frame for the agent': faulty,
        'any other frame': faulty,
        'a second preamble': [/^answered/, now('unbound')],
        'the link opens': never,
        'the link ends': never,
        'its connection ends': gone,
      },
      binding: {
        BIND: faulty,
        'a frame for the agent': faulty,
        'any other frame': faulty,
        'a second preamble': faulty,
        'the link opens': [/^BOUND, → `bound`/, now('bound', 'BOUND')],
        'the link ends': [/^GOAWAY, → `closed`/, now('closed', 'aborted')],
        'its connection ends': gone,
      },
      bound: {
        BIND: faulty,
        'a frame for the agent': [/^forwarded/, now('bound', 'agent: ATTACH')],
        'any other frame': faulty,
        'a second preamble': faulty,
        'the link opens': never,
        'the link ends': [/^GOAWAY, → `closed`/, now('closed', 'aborted')],
        'its connection ends': gone,
      },
    },
    async (state, event): Promise<Outcome> => {
      const made = await ClientCase.in(state);
      made.client.told();
      made.agent?.told();
      await events[event]?.(made);
      await settle();
      expect(made.client.opened, 'preambles that were answered').toBe(1);
      const forwarded = event === 'the link opens' ? '' : (made.agent?.told() ?? '');
      const says = made.client.ended?.code ?? (forwarded === '' ? made.client.told() : `agent: ${forwarded}`);
      return now(await made.state(), says);
    },
  );
});
