/**
 * The sender's and the receiver's state tables in docs/protocol.md against the code, cell by cell: the states and
 * events are read from the page, so a row or a column that is added there needs its check here.
 */
import { test } from 'vitest';
import { FrameType } from './frame.ts';
import { ReceiveStream } from './receive-stream.ts';
import { SendStream } from './send-stream.ts';
import { checkTable, now, tableOf } from './testing/state-table.ts';

const typeNames: Record<number, string> = {
  [FrameType.DATA]: 'DATA',
  [FrameType.EOF]: 'EOF',
  [FrameType.WINDOW]: 'WINDOW',
  [FrameType.STOP]: 'STOP',
};
const nameOf = (frame: Buffer | undefined): string =>
  frame === undefined ? '' : (typeNames[frame[4] as number] as string);

const WINDOW_BYTES = 8;
/** Received, and not yet delivered. */
const HELD = Buffer.from('abcd');

function receiverIn(state: string): ReceiveStream {
  const stream = new ReceiveStream(13, WINDOW_BYTES);
  stream.attach(1);
  stream.data(0, HELD);
  if (state === 'ended') stream.end(6);
  if (state === 'stopped') stream.stop();
  if (state === 'done') {
    stream.deliver(HELD.length);
    stream.end(HELD.length);
  }
  return stream;
}

function receiverState(stream: ReceiveStream): string {
  if (stream.stopped) return 'stopped';
  if (stream.complete) return 'done';
  return stream.final === undefined ? 'open' : 'ended';
}

function tryIt(action: () => string): string {
  try {
    return action();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

test("the receiver's states are those of docs/protocol.md", async () => {
  const actions: Record<string, (stream: ReceiveStream) => string> = {
    // Two bytes that are known and two that are new.
    DATA: (stream) => stream.data(2, Buffer.from('cdef')).toString(),
    'EOF or EXIT': (stream) => nameOf(stream.end(stream.final ?? 6)) + tryIt(() => nameOf(stream.end(7))),
    'a write completes': (stream) => nameOf(stream.deliver(HELD.length)),
    '`stop`': (stream) => nameOf(stream.stop()),
    'attach again': (stream) => `from ${stream.attach(2).delivered}`,
  };
  const fault = 'invalid_argument';
  await checkTable(
    tableOf("receiver's state"),
    {
      open: {
        DATA: [/^take what is new/, now('open', 'ef')],
        'EOF or EXIT': [/→ `ended`/, now('ended', fault)],
        'a write completes': [/WINDOW after a quarter/, now('open', 'WINDOW')],
        '`stop`': [/→ `stopped`/, now('stopped', 'STOP')],
        'attach again': [/asks from `delivered`/, now('open', 'from 0')],
      },
      ended: {
        DATA: [/^take what is new, to `final`/, now('ended', 'ef')],
        'EOF or EXIT': [/another: fault/, now('ended', fault)],
        'a write completes': [/`delivered` moves/, now('ended', 'WINDOW')],
        '`stop`': [/→ `stopped`/, now('stopped', 'STOP')],
        'attach again': [/^`open`.*asks from `delivered`/, now('open', 'from 0')],
      },
      stopped: {
        DATA: [/^drop/, now('stopped', '')],
        'EOF or EXIT': [/nothing/, now('stopped', '')],
        'a write completes': [/nothing/, now('stopped', '')],
        '`stop`': [/nothing/, now('stopped', 'STOP')],
        'attach again': [/STOP again/, now('stopped', 'from 4')],
      },
      done: {
        DATA: [/beyond: fault/, now('done', fault)],
        'EOF or EXIT': [/another: fault/, now('done', fault)],
        'a write completes': [/–/, now('done', '')],
        '`stop`': [/→ `stopped`/, now('stopped', 'STOP')],
        'attach again': [/asks from `final`/, now('done', 'from 4')],
      },
    },
    (state, event) => {
      const stream = receiverIn(state);
      const says = tryIt(() => (actions[event] as (stream: ReceiveStream) => string)(stream));
      return now(receiverState(stream), says);
    },
  );
});

function senderIn(state: string): SendStream {
  const nothing = (): void => undefined;
  const stream = new SendStream(
    14,
    { ready: nothing, room: nothing, stopped: nothing },
    { retentionBytes: 8 },
  );
  stream.attach(0, 4, 1);
  stream.push(Buffer.from('abcdef'));
  stream.pull();
  if (state === 'ended') stream.finish();
  if (state === 'stopped') stream.stop();
  if (state === 'done') {
    stream.finish();
    stream.window(4, 12);
    stream.pull();
    stream.window(6, 14);
  }
  return stream;
}

function senderState(stream: SendStream): string {
  if (stream.stopped) return 'stopped';
  if (stream.done) return 'done';
  return stream.final === undefined ? 'open' : 'ended';
}

/** All that it sends now. */
function sent(stream: SendStream): string {
  const names: string[] = [];
  for (let frame = stream.pull(); frame !== undefined; frame = stream.pull()) names.push(nameOf(frame));
  return names.join(' ');
}

test("the sender's states are those of docs/protocol.md", async () => {
  const actions: Record<string, (stream: SendStream) => string> = {
    'source has bytes': (stream) =>
      tryIt(() => {
        stream.push(Buffer.from('gh'));
        return `end ${stream.end}`;
      }),
    credit: (stream) => {
      stream.window(stream.base, 20);
      return sent(stream);
    },
    WINDOW: (stream) => {
      stream.window(Math.max(stream.base, 4), 20);
      return `base ${stream.base}`;
    },
    STOP: (stream) => {
      stream.stop();
      return sent(stream);
    },
    'attach with `from`': (stream) => `from ${stream.attach(2, 20, 2)}: ${sent(stream)}`,
  };
  await checkTable(
    tableOf("sender's state"),
    {
      open: {
        'source has bytes': [/^accept/, now('open', 'end 8')],
        credit: [/^send/, now('open', 'DATA')],
        WINDOW: [/`base := delivered`/, now('open', 'base 4')],
        STOP: [/→ `stopped`/, now('stopped', 'EOF')],
        'attach with `from`': [/`base := max\(base, from\)`/, now('open', 'from 2: DATA')],
      },
      ended: {
        'source has bytes': [/–/, now('ended', 'internal')],
        credit: [/send the rest, EOF/, now('ended', 'DATA EOF')],
        WINDOW: [/`base := delivered`/, now('ended', 'base 4')],
        STOP: [/→ `stopped`/, now('stopped', 'EOF')],
        'attach with `from`': [/EOF again/, now('ended', 'from 2: DATA EOF')],
      },
      stopped: {
        'source has bytes': [/discard/, now('stopped', 'end 6')],
        credit: [/^EOF$/, now('stopped', 'EOF')],
        WINDOW: [/ignore/, now('stopped', 'base 6')],
        STOP: [/^EOF$/, now('stopped', 'EOF')],
        'attach with `from`': [/EOF at `final`/, now('stopped', 'from 6: EOF')],
      },
      done: {
        'source has bytes': [/–/, now('done', 'internal')],
        credit: [/^EOF$/, now('done', 'EOF')],
        WINDOW: [/^nothing$/, now('done', 'base 6')],
        STOP: [/→ `stopped`/, now('stopped', 'EOF')],
        'attach with `from`': [/EOF again/, now('done', 'from 6: EOF')],
      },
    },
    (state, event) => {
      const stream = senderIn(state);
      const says = tryIt(() => (actions[event] as (stream: SendStream) => string)(stream));
      return now(senderState(stream), says);
    },
  );
});
