/** The caps that would take thousands of sockets to reach: routes and budgets alone. */
import {
  decodeFailure,
  type Frame,
  FrameType,
  MAX_LINK_REQUESTS,
  MAX_REQUESTS,
  Response,
} from '@coracle/wire';
import { expect, test } from 'vitest';
import { Attachments } from './attachments.ts';
import { QueueBudget } from './budget.ts';
import { Distribution } from './counters.ts';
import { DataQueue } from './data-queue.ts';
import { MAX_ATTACHMENTS } from './limits.ts';
import type { LinkClient } from './link-client.ts';
import { RequestRoutes } from './request-routes.ts';

function client(): LinkClient & { readonly sent: Buffer[] } {
  const sent: Buffer[] = [];
  const queue = (): DataQueue => new DataQueue('bulk', () => undefined);
  return {
    sent,
    link: undefined,
    number: 1,
    control: queue(),
    urgent: queue(),
    bulk: queue(),
    queuedBytes: 0,
    cutOff: () => undefined,
    bound: () => undefined,
    forward: () => undefined,
    send: (frame) => void sent.push(frame),
    close: () => undefined,
  };
}

function frame(type: FrameType, id: number, generation = 1): Frame {
  const none = Buffer.alloc(0);
  return { type, flags: 0, id, generation, offset: 0, payload: none, encoded: none };
}

test('one attachment too many is refused; one that has exited makes room, and is told', () => {
  const attachments = new Attachments();
  const one = client();
  for (let p = 1; p <= MAX_ATTACHMENTS; p++)
    expect(attachments.begin(one, frame(FrameType.ATTACH, 4 * p))).toBe(true);
  const late = frame(FrameType.ATTACH, 4 * (MAX_ATTACHMENTS + 1));
  expect(attachments.begin(one, late)).toBe(false);
  expect(decodeFailure(one.sent[0]?.subarray(24, -4) ?? Buffer.alloc(4)).code).toBe(8);
  attachments.receiver(frame(FrameType.ATTACHED, 40), 40);
  attachments.receiver(frame(FrameType.EXIT, 40), 40);
  expect(attachments.begin(one, late)).toBe(true);
  expect(one.sent[1]?.readUInt32LE(8)).toBe(40);
  expect(attachments.allows(one, 40, 1)).toBe(false);
});

test('an attachment changes hands when the agent says so, and not before', () => {
  const attachments = new Attachments();
  const [owner, other] = [client(), client()];
  attachments.begin(owner, frame(FrameType.ATTACH, 4, 1));
  attachments.receiver(frame(FrameType.ATTACHED, 4, 1), 4);
  attachments.begin(other, frame(FrameType.ATTACH, 4, 2));
  expect(attachments.receiver(frame(FrameType.DATA, 6, 1), 4)).toBe(owner);
  expect(attachments.receiver(frame(FrameType.REFUSED, 4, 2), 4)).toBe(other);
  expect(attachments.allows(other, 4, 2)).toBe(false);
  expect(attachments.allows(owner, 4, 1)).toBe(true);
  expect(owner.sent).toEqual([]);
});

test('the sandbox’s last request is refused, also when nobody waits for the others any more', () => {
  const routes = new RequestRoutes(() => undefined, new Distribution([]));
  for (let sent = 0; sent < MAX_LINK_REQUESTS; ) {
    const mad = client();
    for (let id = 0; id < MAX_REQUESTS; id++, sent++) routes.part(mad, frame(FrameType.REQUEST, id));
    routes.removeClient(mad);
  }
  const sane = client();
  expect(routes.part(sane, frame(FrameType.REQUEST, 1))).toBeUndefined();
  expect(Response.decode(sane.sent[0]?.subarray(24, -4) ?? Buffer.alloc(0)).error?.code).toBe(8);
  // The agent answers one that was cancelled: there is room again.
  expect(routes.answerPart(frame(FrameType.RESPONSE, 1))?.client).toBeUndefined();
  expect(routes.part(sane, frame(FrameType.REQUEST, 1))).toBeDefined();
});

test('a client that cancels at once is refused before it has used up what all may have', () => {
  const routes = new RequestRoutes(() => undefined, new Distribution([]));
  const mad = client();
  for (let id = 1; id <= 5000; id++) {
    routes.part(mad, frame(FrameType.REQUEST, id));
    routes.cancel(mad, id);
  }
  expect(routes.part(client(), frame(FrameType.REQUEST, 1))).toBeDefined();
  expect(routes.part(mad, frame(FrameType.REQUEST, 1))).toBeUndefined();
  for (let linkId = 1; linkId <= MAX_REQUESTS; linkId++) routes.answerPart(frame(FrameType.RESPONSE, linkId));
  expect(routes.part(mad, frame(FrameType.REQUEST, 2))).toBeDefined();
});

test('above the cap that all share the one with most is cut off', () => {
  const cut: number[] = [];
  const holder = (queuedBytes: number) => ({ queuedBytes, cutOff: () => void cut.push(queuedBytes) });
  const holders = [holder(10), holder(70), holder(30)];
  const budget = new QueueBudget(100, 'all', () => holders);
  budget.add(100);
  expect(cut).toEqual([]);
  budget.add(10);
  expect(cut).toEqual([70]);
});

test('small frames that wait leave together, as many as fit into one write, and keep their order', () => {
  const queue = new DataQueue('control', () => undefined);
  const chunk = Buffer.alloc(65_536);
  for (let i = 0; i < 3000; i++) {
    chunk.writeUInt32LE(i, 0);
    queue.push(chunk.subarray(0, 28));
  }
  const pulled: Buffer[] = [];
  for (let bytes = queue.pull(); bytes !== undefined; bytes = queue.pull()) pulled.push(bytes);
  expect(pulled.every(({ length, buffer }) => length <= 32_768 && buffer !== chunk.buffer)).toBe(true);
  expect(pulled.length).toBeLessThan(20);
  const all = Buffer.concat(pulled);
  expect(Array.from({ length: 3000 }, (_, i) => all.readUInt32LE(28 * i))).toEqual([...Array(3000).keys()]);
  expect(queue.bytes).toBe(0);
});
