import { beforeEach, describe, expect, it } from 'vitest';
import { encodeFrame, FrameType, readHeader } from './frame.ts';
import {
  HEADER_BYTES,
  MAX_FRAME_BYTES,
  MAX_PAYLOAD_BYTES,
  TRAILER_BYTES,
  TRANSPORT_QUEUE_BYTES,
} from './limits.ts';
import { type FrameSource, Outbox } from './outbox.ts';

/** A transport that lets go of bytes when the test says so. */
class Transport {
  readonly writes: Buffer[] = [];
  readonly #pending: { bytes: number; taken: () => void }[] = [];
  inQueue = 0;
  readonly outbox = new Outbox((bytes, taken) => {
    this.writes.push(bytes);
    this.inQueue += bytes.length;
    this.#pending.push({ bytes: bytes.length, taken });
  });

  take(): boolean {
    const write = this.#pending.shift();
    if (write === undefined) return false;
    this.inQueue -= write.bytes;
    write.taken();
    return true;
  }

  async drain(): Promise<void> {
    do await Promise.resolve();
    while (this.take());
  }

  /** The ids of all frames that were written, in order. */
  get ids(): number[] {
    const bytes = Buffer.concat(this.writes);
    const ids: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const { length, id } = readHeader(bytes, at);
      ids.push(id);
      at += HEADER_BYTES + length + TRAILER_BYTES;
    }
    return ids;
  }
}

function source(
  id: number,
  frames: number,
  payloadBytes = MAX_PAYLOAD_BYTES,
): FrameSource & { left: number } {
  return {
    urgent: id % 4 === 0,
    left: frames,
    pull() {
      if (this.left === 0) return undefined;
      this.left--;
      return encodeFrame({ type: FrameType.DATA, id, payload: Buffer.alloc(payloadBytes) });
    },
  };
}

const control = (id: number): Buffer => encodeFrame({ type: FrameType.STOP, id });

describe('Outbox', () => {
  let transport: Transport;
  let outbox: Outbox;
  beforeEach(() => {
    transport = new Transport();
    outbox = transport.outbox;
  });

  it('hands over what was queued together in one write', async () => {
    for (let id = 1; id <= 100; id++) outbox.send(control(id));
    await Promise.resolve();
    expect(transport.writes.length).toBe(1);
    expect(transport.ids).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  });

  it('sends control frames before data, urgent sources before others, others in turn', async () => {
    outbox.schedule(source(5, 3));
    outbox.schedule(source(6, 2));
    outbox.schedule(source(8, 2, 8));
    outbox.send(control(101));
    outbox.send(control(102));
    await transport.drain();
    expect(transport.ids).toEqual([101, 102, 8, 8, 5, 6, 5, 6, 5]);
  });

  it('lets a control frame overtake all but what the transport has', async () => {
    outbox.schedule(source(5, 100));
    await Promise.resolve();
    const before = transport.writes.length;
    expect(transport.inQueue).toBeLessThan(TRANSPORT_QUEUE_BYTES + MAX_FRAME_BYTES);
    outbox.send(control(101));
    transport.take();
    await Promise.resolve();
    expect(transport.ids[before]).toBe(101);
  });

  it('never has more than 64 KiB and one write in the transport', async () => {
    outbox.schedule(source(5, 200));
    outbox.schedule(source(6, 200, 1));
    outbox.schedule(source(7, 200, 20_000));
    for (let step = 0; step < 2000; step++) {
      if (step % 7 === 0) outbox.send(control(101));
      await Promise.resolve();
      expect(transport.inQueue).toBeLessThan(TRANSPORT_QUEUE_BYTES + MAX_FRAME_BYTES);
      if (step % 3 === 0) transport.take();
    }
    await transport.drain();
    for (const write of transport.writes) expect(write.length).toBeLessThanOrEqual(MAX_FRAME_BYTES);
    const ids = transport.ids;
    for (const id of [5, 6, 7]) expect(ids.filter((other) => other === id).length).toBe(200);
  });

  it('gives sources their turns whatever they send', async () => {
    outbox.schedule(source(5, 50));
    outbox.schedule(source(6, 50, 1));
    await transport.drain();
    const ids = transport.ids;
    for (let i = 0; i < 100; i += 2) expect(ids.slice(i, i + 2).sort()).toEqual([5, 6]);
  });

  it('asks a source again that becomes ready while it is asked', async () => {
    const frames: (Buffer | undefined)[] = [undefined, encodeFrame({ type: FrameType.STOP, id: 9 })];
    const late: FrameSource = {
      urgent: false,
      pull() {
        const frame = frames.shift();
        // Bytes come in while it looks: it has said that it has none, and that it has some.
        if (frames.length === 1) outbox.schedule(late);
        return frame;
      },
    };
    outbox.schedule(late);
    await transport.drain();
    expect(transport.ids).toEqual([9]);
  });

  it('asks a source no more once it has nothing, until it is scheduled again', async () => {
    let asked = 0;
    const empty: FrameSource = { urgent: false, pull: () => void asked++ };
    outbox.schedule(empty);
    await transport.drain();
    outbox.send(control(101));
    await transport.drain();
    expect(asked).toBe(1);
    outbox.schedule(empty);
    await transport.drain();
    expect(asked).toBe(2);
  });

  it('counts what waits, and forgets it when closed', async () => {
    outbox.schedule(source(5, 100));
    await Promise.resolve();
    for (let i = 0; i < 10; i++) outbox.send(control(101));
    expect(outbox.queuedBytes).toBe(transport.inQueue + 280);
    outbox.close();
    const before = transport.writes.length;
    await transport.drain();
    outbox.send(control(101));
    await transport.drain();
    expect(transport.writes.length).toBe(before);
    expect(outbox.queuedBytes).toBe(0);
  });

  it('takes a transport that takes bytes at once, without recursion', async () => {
    let written = 0;
    const direct = new Outbox((bytes, taken) => {
      written += bytes.length;
      taken();
    });
    direct.schedule(source(5, 50_000, 20_000));
    await Promise.resolve();
    expect(written).toBe(50_000 * (20_000 + HEADER_BYTES + TRAILER_BYTES));
  });

  it('sends three hundred thousand control frames in linear time', async () => {
    const started = performance.now();
    const frame = control(101);
    for (let i = 0; i < 300_000; i++) outbox.send(frame);
    await transport.drain();
    expect(transport.writes.reduce((sum, write) => sum + write.length, 0)).toBe(300_000 * frame.length);
    expect(performance.now() - started).toBeLessThan(3000);
  });
});
