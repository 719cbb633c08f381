/**
 * The tables of docs/protocol.md for a link and for a process in the agent, against the code: cell by cell, over real
 * connections in memory and real pipes.
 */
import { duplexPair } from 'node:stream';
import { close, pipe2, write } from '@coracle/sys';
import {
  Connection,
  encodeAttach,
  encodeFrame,
  FLUSH,
  type Frame,
  FrameType,
  frameTypeName,
  Role,
  RpcError,
} from '@coracle/wire';
import { expect, onTestFinished, test } from 'vitest';
import { ProcessTable } from '../../packages/agent/src/processes.ts';
import { checkTable, now, type Outcome, tableOf } from '../../packages/wire/src/testing/state-table.ts';

/** Both ends are in this process: whatever was sent has come after a few turns of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const reason = new RpcError('aborted', 'enough');

/** One end, and what has happened to it. */
function end(transport: ReturnType<typeof duplexPair>[0], opener: boolean) {
  const seen = { opened: 0, frames: [] as string[], ended: undefined as RpcError | undefined };
  const connection = new Connection(
    transport,
    { role: opener ? Role.proxy : Role.agent, opener },
    {
      open: () => void seen.opened++,
      frame: ({ type }) => void seen.frames.push(frameTypeName(type)),
      closed: (error) => {
        seen.ended = error;
      },
    },
  );
  return { connection, seen, transport };
}

type End = ReturnType<typeof end>;
const stateOf = ({ connection, seen }: End): string =>
  seen.ended ? 'closed' : connection.isOpen ? 'open' : 'greeting';

test('a link has the states of docs/protocol.md, at both ends', async () => {
  const { events, states } = tableOf('state ');
  expect(events).toEqual(['opener: what it does', 'answerer: what it does']);
  expect(states.map(({ name }) => name)).toEqual([
    'closed',
    'greeting',
    'open',
    'any: end of file, write error, GOAWAY',
    'any: rules broken',
  ]);

  const [here, there] = duplexPair();
  const answerer = end(there, false);
  expect(stateOf(answerer), 'waits until a preamble').toBe('greeting');
  there.push(FLUSH);
  await settle();
  expect(stateOf(answerer), 'skips what is none').toBe('greeting');
  const opener = end(here, true);
  expect(stateOf(opener), 'skips until the answer').toBe('greeting');
  opener.connection.send({ type: FrameType.BOUND });
  await settle();
  expect([stateOf(opener), stateOf(answerer)]).toEqual(['open', 'open']);
  expect(answerer.seen.frames, 'a frame before the answer belongs to no epoch').toEqual([]);
  opener.connection.send({ type: FrameType.BOUND });
  await settle();
  expect(answerer.seen.frames).toEqual(['BOUND']);

  for (const event of ['data', 'end', 'close', 'error']) here.removeAllListeners(event);
  const second = end(here, true);
  await settle();
  expect([answerer.seen.opened, stateOf(second)], 'a preamble begins a new epoch').toEqual([2, 'open']);
});

test('a link is closed by whatever ends it, at both ends', async () => {
  const rubbish = encodeFrame({ type: FrameType.BOUND }).fill(0xff, 4, 5);
  const causes: Record<string, (one: End, other: End) => void> = {
    'end of file': (_, other) => void other.transport.push(null),
    'write error': (_, other) => other.transport.destroy(new Error('EPIPE')),
    GOAWAY: (one) => one.connection.close(reason),
    'rules broken': (one) => void one.transport.write(rubbish),
  };
  const codes: Record<string, string> = {
    'end of file': 'unavailable',
    'write error': 'unavailable',
    GOAWAY: 'aborted',
    'rules broken': 'invalid_argument',
  };
  for (const openerEnds of [true, false]) {
    for (const [cause, act] of Object.entries(causes)) {
      const [here, there] = duplexPair();
      const ends = [end(here, true), end(there, false)] as const;
      await settle();
      const [one, other] = openerEnds ? [ends[1], ends[0]] : ends;
      act(one, other);
      await settle();
      expect([stateOf(other), other.seen.ended?.code], cause).toEqual(['closed', codes[cause]]);
      // Whoever broke the rules is told so.
      if (cause === 'rules broken') expect(one.seen.ended?.code).toBe('invalid_argument');
    }
  }
});

const credit = { delivered: 0, limit: 1024 };

class ProcessCase {
  readonly table = new ProcessTable();
  readonly process = this.table.make({ name: 'p', terminal: false, stdin: true, outOfMemory: () => false });
  readonly client: End;
  readonly agent: End;
  readonly stdout = pipe2();
  readonly stderr = pipe2();
  readonly stdin = pipe2();

  constructor() {
    const [here, there] = duplexPair();
    this.client = end(here, true);
    this.agent = end(there, false);
    this.table.publish(this.process);
    const ends = { stdin: this.stdin.write, stdout: this.stdout.read, stderr: this.stderr.read };
    this.process.connect({ ...ends, terminal: undefined });
    write(this.stdout.write, Buffer.from('out'));
  }

  attach(generation: number): void {
    const payload = encodeAttach({ token: this.process.token, stdout: credit, stderr: credit });
    const fields = { type: FrameType.ATTACH, id: 4, generation, offset: 0, flags: 0, payload } as const;
    this.table.handle({ ...fields, encoded: payload } as Frame, this.agent.connection);
  }

  /** The program's ends, as the kernel closes them. */
  #closeEnds(): void {
    for (const fd of [this.stdout.write, this.stderr.write, this.stdin.read]) close(fd);
  }

  exit(): void {
    this.#closeEnds();
    this.process.onExit(42 << 8);
  }

  dispose(): void {
    if (this.process.exit === undefined) this.#closeEnds();
    this.table.remove(this.process);
  }

  get state(): string {
    if (this.process.exit !== undefined) return 'exited';
    return this.process.pid === 0 ? 'created' : 'running';
  }
}

test("the agent's process has the states of docs/protocol.md", async () => {
  const never = [/^–$/, now('', '–')] as const;
  const removed = [/→ `removed`/, now('removed', 'REFUSED')] as const;
  const all = 'ATTACHED DATA';
  await checkTable(
    tableOf("agent's process state"),
    {
      created: {
        ATTACH: [/^ATTACHED/, now('created', all)],
        'process exits': [/EXIT.*→ `exited`/, now('exited', 'DATA EOF EOF EXIT STOP')],
        'container removed': removed,
      },
      running: {
        ATTACH: [/^ATTACHED, frames go on$/, now('running', all)],
        'process exits': [
          /→ `exited` when the final offsets are known; EXIT/,
          now('exited', 'DATA EOF EOF EXIT STOP'),
        ],
        'container removed': removed,
      },
      exited: {
        ATTACH: [/^ATTACHED, undelivered output, EXIT$/, now('exited', 'ATTACHED DATA EOF EOF EXIT STOP')],
        'process exits': never,
        'container removed': removed,
      },
      removed: {
        ATTACH: [/^REFUSED `not_found`$/, now('removed', 'REFUSED')],
        'process exits': never,
        'container removed': never,
      },
    },
    async (state, event): Promise<Outcome> => {
      const made = new ProcessCase();
      onTestFinished(() => made.dispose());
      await settle();
      if (state !== 'created') made.process.started(process.pid);
      if (state === 'exited') made.exit();
      if (state === 'removed') made.table.remove(made.process);
      if (event === 'process exits') made.attach(1);
      if (event === 'process exits') made.exit();
      if (event === 'container removed') made.table.remove(made.process);
      if (event !== 'process exits') made.attach(2);
      await settle();
      // EXIT and STOP overtake output: the order is not the table's.
      const { frames } = made.client.seen;
      const says = [
        ...frames.filter((name) => name === 'ATTACHED' && event === 'ATTACH'),
        ...frames.filter((name) => name !== 'ATTACHED').sort(),
      ];
      const gone = frames.includes('REFUSED');
      return now(gone ? 'removed' : made.state, says.join(' '));
    },
  );
});
