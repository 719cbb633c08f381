/**
 * The bytes of a capture from a running proxy (docs/capture.md, "At the proxy"). A proxy that ends, or is not there
 * yet, is waited for: the capture goes on with the next one, as a new section.
 */
import { on } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { CaptureContent } from '@coracle/wire';
import { TapError } from '../errors.ts';

export interface ProxyCaptureOptions {
  /** The proxy's own socket; captures are asked for on the one beside it. */
  readonly socketPath: string;
  readonly content: CaptureContent;
  /** None: all. */
  readonly sandboxes: readonly string[];
  readonly signal: AbortSignal;
  /** Told when there is no proxy to ask, and when one has answered. */
  readonly onState?: (state: 'waiting' | 'capturing') => void;
}

/** A proxy that was killed is back within milliseconds, and what it does at first is what is looked for. */
const AGAIN_MS = 20;
/** That wait to be taken, each of 64 KiB at most; the proxy keeps the rest. */
const MAX_CHUNKS = 16;

/**
 * Ends when the signal does.
 * @throws TapError refused, when the proxy does not give it
 */
export async function* captureFromProxy(options: ProxyCaptureOptions): AsyncGenerator<Buffer> {
  const { signal, onState } = options;
  let said = false;
  while (!signal.aborted) {
    const response = await ask(options);
    if (response === undefined) {
      if (!said) onState?.('waiting');
      said = true;
      await delay(AGAIN_MS, undefined, { signal }).catch(() => undefined);
      continue;
    }
    said = false;
    if (response.statusCode !== 200) throw await refusal(response);
    onState?.('capturing');
    try {
      yield* bytesOf(response);
    } catch (error) {
      // A killed proxy, or our own end.
      if (!isEnd(error)) throw error;
    }
  }
}

/** All that has come, also when the proxy was killed behind it: reading the response itself would leave that out. */
async function* bytesOf(response: IncomingMessage): AsyncGenerator<Buffer> {
  const events = on(response, 'data', { close: ['close'], highWaterMark: MAX_CHUNKS, lowWaterMark: 1 });
  try {
    for await (const [chunk] of events) yield chunk as Buffer;
  } finally {
    // Whoever stops reading, as when a disk is full, ends the capture.
    response.destroy();
  }
}

/** @returns undefined when no proxy listens */
function ask({
  socketPath,
  content,
  sandboxes,
  signal,
}: ProxyCaptureOptions): Promise<IncomingMessage | undefined> {
  const query = new URLSearchParams({ content });
  for (const id of sandboxes) query.append('sandbox', id);
  return new Promise((resolve, reject) => {
    const asked = request({
      socketPath: `${socketPath}.debug`,
      path: `/capture?${query}`,
      signal,
      agent: false,
    });
    asked.once('response', resolve);
    asked.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted || ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(error.code ?? ''))
        resolve(undefined);
      else if (error.code === 'EACCES' || error.code === 'EPERM')
        reject(
          new TapError(
            'refused',
            `may not use ${socketPath}.debug: captures are for the proxy's own user and root`,
          ),
        );
      else reject(new TapError('no-proxy', `cannot ask the proxy on ${socketPath}.debug: ${error.message}`));
    });
    asked.end();
  });
}

async function refusal(response: IncomingMessage): Promise<TapError> {
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  const why = Buffer.concat(parts).toString('utf8').trim();
  return new TapError('refused', `the proxy gives no capture: ${why} (HTTP ${response.statusCode})`);
}

function isEnd(error: unknown): boolean {
  const { name, code } = error as NodeJS.ErrnoException;
  return name === 'AbortError' || code === 'ECONNRESET' || code === 'ABORT_ERR' || code === 'EPIPE';
}
