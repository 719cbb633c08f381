/**
 * A capture of the link as the agent sees it, asked for by the host and read by it (docs/capture.md, "In the agent").
 * Requests that read it, and their answers, are not in it: it would never be done.
 */
import {
  Capture,
  type CaptureContent,
  captureContents,
  Direction,
  FrameType,
  HEADER_BYTES,
  MORE,
  RpcError,
  type SandboxCapture,
} from '@coracle/wire';
import { invalid } from './check.ts';
import type { SessionHost } from './session.ts';

/** What waits to be read: memory of the guest. */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** Of one answer: it takes turns with the streams. */
const MAX_ANSWER_BYTES = 256 * 1024;
const MAX_ID_CHARACTERS = 64;
const TICK_MS = 1000;
/** Whoever reads asks again at once; a host that has died in between does not. */
const MAX_IDLE_TICKS = 10;
/** Request.method comes first in what our clients and proxies send. */
const OWN_METHOD = Buffer.from('\x0a\x0bReadCapture', 'latin1');
/** The proxy is the agent's one peer; links are numbered as they came. */
const PEER = 'coracle-proxy';

export interface ReadOptions {
  readonly captureId: string;
  readonly content: string;
  readonly offset: number;
}

export class LinkCapture {
  readonly #sessions: SessionHost;
  #running: Running | undefined;

  constructor(sessions: SessionHost) {
    this.#sessions = sessions;
  }

  /** @throws RpcError invalid_argument; not_found for a capture that has ended, out_of_range, cancelled */
  async read(
    { captureId, content, offset }: ReadOptions,
    sandbox: string,
    signal: AbortSignal,
  ): Promise<Buffer> {
    if (captureId === '' || captureId.length > MAX_ID_CHARACTERS)
      throw invalid('capture_id', `must be 1 to ${MAX_ID_CHARACTERS} characters`);
    if (this.#running?.id !== captureId) {
      if (!isContent(content)) throw invalid('content', `must be one of ${captureContents.join(', ')}`);
      if (offset !== 0) throw new RpcError('not_found', `capture ${captureId} has ended`);
      this.#running?.end();
      this.#running = new Running(captureId, content, sandbox, this.#sessions, () => {
        this.#running = undefined;
      });
    }
    const running = this.#running as Running;
    const onAbort = (): void => running.end();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await running.read(offset);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

class Running {
  readonly id: string;
  readonly #capture: Capture;
  readonly #box: SandboxCapture;
  readonly #ended: () => void;
  readonly #sessions: SessionHost;
  readonly #ticking: NodeJS.Timeout;
  #queue: { readonly bytes: Buffer; readonly taken: () => void }[] = [];
  /** In the capture, of the queue's first byte. */
  #start = 0;
  #changed = Promise.withResolvers<void>();
  #links = 1;
  /** Requests that read the capture and were not answered whole. */
  readonly #own = new Set<number>();
  #idleTicks = 0;
  #isOver = false;

  constructor(
    id: string,
    content: CaptureContent,
    sandbox: string,
    sessions: SessionHost,
    ended: () => void,
  ) {
    this.id = id;
    this.#ended = ended;
    this.#sessions = sessions;
    this.#capture = new Capture({
      content,
      application: 'coracle-agent',
      place: 'in the agent',
      maxQueuedBytes: MAX_QUEUED_BYTES,
      write: (bytes, taken) => {
        this.#queue.push({ bytes, taken });
        this.#move();
      },
    });
    this.#box = this.#capture.sandbox(sandbox);
    this.#box.event('already');
    this.#box.event('link_open');
    this.#box.event('client_bound', this.#links, { text: PEER });
    sessions.observe({
      frame: (way, encoded) => this.#frame(way, encoded),
      opened: () => {
        this.#links++;
        this.#box.event('link_open');
        this.#box.event('client_bound', this.#links, { text: PEER });
      },
      closed: () => this.end(),
    });
    this.#ticking = setInterval(() => {
      this.#capture.tick();
      if (++this.#idleTicks > MAX_IDLE_TICKS) this.end();
    }, TICK_MS);
    this.#ticking.unref();
  }

  /** Bytes from the offset on, when there are any. What lies before it has arrived. */
  async read(offset: number): Promise<Buffer> {
    this.#idleTicks = Number.NEGATIVE_INFINITY;
    this.#forget(offset);
    while (this.#queue.length === 0) {
      if (this.#isOver) throw new RpcError('not_found', `capture ${this.id} has ended`);
      await this.#changed.promise;
    }
    this.#idleTicks = 0;
    const skip = offset - this.#start;
    const parts: Buffer[] = [];
    let bytes = -skip;
    for (const part of this.#queue) {
      parts.push(part.bytes);
      bytes += part.bytes.length;
      if (bytes >= MAX_ANSWER_BYTES) break;
    }
    return Buffer.concat(parts).subarray(skip, skip + MAX_ANSWER_BYTES);
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#ticking);
    this.#sessions.observe(undefined);
    this.#capture.close();
    this.#ended();
    this.#move();
  }

  /** @throws RpcError out_of_range */
  #forget(offset: number): void {
    const end = this.#queue.reduce((sum, { bytes }) => sum + bytes.length, this.#start);
    if (offset < this.#start || offset > end)
      throw new RpcError('out_of_range', `offset ${offset}, the capture holds ${this.#start} to ${end}`);
    for (;;) {
      const first = this.#queue[0];
      if (first === undefined || this.#start + first.bytes.length > offset) return;
      this.#queue.shift();
      this.#start += first.bytes.length;
      first.taken();
    }
  }

  #frame(way: 'in' | 'out', encoded: Buffer): void {
    if (this.#isOwn(encoded)) return;
    this.#box.frame(way === 'in' ? Direction.toAgent : Direction.toClient, this.#links, encoded);
  }

  #isOwn(encoded: Buffer): boolean {
    const id = encoded.readUInt32LE(8);
    const type = encoded[4];
    if (type === FrameType.REQUEST) {
      const from = HEADER_BYTES;
      if (!encoded.subarray(from, from + OWN_METHOD.length).equals(OWN_METHOD)) return false;
      this.#own.add(id);
      return true;
    }
    if ((type !== FrameType.RESPONSE && type !== FrameType.CANCEL) || !this.#own.has(id)) return false;
    if (type === FrameType.RESPONSE && ((encoded[5] ?? 0) & MORE) === 0) this.#own.delete(id);
    return true;
  }

  #move(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

function isContent(text: string): text is CaptureContent {
  return (captureContents as readonly string[]).includes(text);
}
