/**
 * The proxy's second socket, `<socket>.debug`: HTTP, for people and their tools (docs/capture.md, "At the proxy";
 * docs/metrics.md).
 * Node's HTTP server is loaded when the first one comes.
 */
import { rmSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import net from 'node:net';
import { Capture, type CaptureContent, captureContents } from '@coracle/wire';
import { answerJson, answerMetrics, refuse } from './http.ts';
import { MAX_CAPTURE_QUEUE_BYTES, MAX_CAPTURES } from './limits.ts';
import type { LinkState } from './link-state.ts';
import type { MetricsSource } from './metrics.ts';
import type { Tapping } from './taps.ts';

/** Somebody who reads takes a block at once. */
const LAST_BLOCK_MS = 200;

/** What the proxy answers with. */
export interface DebugSource {
  /** That run now. */
  captures(): number;
  /** Frames go to this capture from now on. */
  startCapture(tapping: Tapping): void;
  stopCapture(tapping: Tapping): void;
  readonly metrics: MetricsSource;
  /** What stands between whom: of this sandbox, or of all. */
  links(sandbox: string | undefined): LinkState[];
  /** Whether this process may ask; the reason when it may not. */
  refusal(socket: net.Socket): string | undefined;
}

export function debugSocketPath(socketPath: string): string {
  return `${socketPath}.debug`;
}

export class DebugSocket {
  readonly #source: DebugSource;
  readonly #listener = net.createServer((socket) => this.#accept(socket));
  readonly #sockets = new Set<net.Socket>();
  readonly #stops = new Set<() => void>();
  #http: Promise<Server> | undefined;

  constructor(source: DebugSource) {
    this.#source = source;
  }

  /** The caller holds the proxy's lock, so a file that a killed one left may be replaced. @throws Node's error */
  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(path, () => {
        this.#listener.off('error', reject);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const stop of [...this.#stops]) stop();
    // A capture's last block is to leave; a reader that takes nothing is not waited for.
    const late = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, LAST_BLOCK_MS);
    for (const socket of this.#sockets) socket.destroySoon();
    await closed;
    clearTimeout(late);
  }

  #accept(socket: net.Socket): void {
    if (this.#source.refusal(socket) !== undefined) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    this.#http ??= import('node:http').then(({ createServer }) =>
      createServer((request, response) => this.#answer(request, response)),
    );
    void this.#http.then((http) => http.emit('connection', socket));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://proxy');
    if (request.method !== 'GET') refuse(response, 405, 'only GET is understood here');
    else if (url.pathname === '/capture') this.#capture(url.searchParams, response);
    else if (url.pathname === '/metrics') void answerMetrics(this.#source.metrics, response);
    else if (url.pathname === '/links')
      answerJson(response, this.#source.links(url.searchParams.get('sandbox') ?? undefined));
    else refuse(response, 404, `there is no ${url.pathname}; there are /capture, /metrics and /links`);
  }

  #capture(query: URLSearchParams, response: ServerResponse): void {
    const content = query.get('content') ?? 'digests';
    if (!isContent(content)) {
      refuse(response, 400, `content is one of ${captureContents.join(', ')}, not ${content}`);
      return;
    }
    const unknown = [...query.keys()].find((name) => name !== 'content' && name !== 'sandbox');
    if (unknown !== undefined) {
      refuse(response, 400, `there is no parameter ${unknown}`);
      return;
    }
    if (this.#source.captures() >= MAX_CAPTURES) {
      refuse(response, 503, `${MAX_CAPTURES} captures run already`);
      return;
    }
    const sandboxes = query.getAll('sandbox');
    response.writeHead(200, { 'Content-Type': 'application/x-pcapng', 'Cache-Control': 'no-store' });
    const tapping: Tapping = {
      capture: new Capture({
        content,
        application: 'coracle-proxy',
        place: 'at the proxy',
        maxQueuedBytes: MAX_CAPTURE_QUEUE_BYTES,
        write: (bytes, taken) => response.write(bytes, taken),
      }),
      sandboxes: sandboxes.length === 0 ? undefined : new Set(sandboxes),
    };
    const stop = (): void => {
      if (!this.#stops.delete(stop)) return;
      this.#source.stopCapture(tapping);
      tapping.capture.close();
      response.end();
    };
    this.#stops.add(stop);
    response.once('close', stop);
    this.#source.startCapture(tapping);
  }
}

function isContent(text: string): text is CaptureContent {
  return (captureContents as readonly string[]).includes(text);
}
