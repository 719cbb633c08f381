import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { captureFromProxy } from './proxy-capture.ts';

/** Unix sockets that this process has open, those that listen too. */
const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;

interface Proxy {
  capture(signal?: AbortSignal): AsyncGenerator<Buffer>;
  /** When both ends of its connections are gone. */
  disconnected(): Promise<void>;
}

/** A proxy that answers as the test says. */
async function withProxy(answer: RequestListener, use: (proxy: Proxy) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-'));
  const socketPath = join(folder, 'proxy.sock');
  const before = sockets();
  const server = createServer(answer);
  try {
    await new Promise<void>((resolve) => server.listen(`${socketPath}.debug`, resolve));
    const listening = sockets();
    await use({
      capture: (signal = new AbortController().signal) =>
        captureFromProxy({ socketPath, content: 'headers', sandboxes: [], signal }),
      async disconnected() {
        await vi.waitUntil(() => sockets() === listening, { timeout: 10_000 });
      },
    });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    // The next one counts its own.
    await vi.waitUntil(() => sockets() === before, { timeout: 10_000 });
    rmSync(folder, { recursive: true });
  }
}

it('keeps what has come when the proxy is killed before it was read', async () => {
  const end = new AbortController();
  let answer: ServerResponse | undefined;
  const once: RequestListener = (_, response) => {
    // It asks again: the first answer has ended.
    if (answer !== undefined) end.abort();
    answer = response;
    response.write('first ');
  };
  await withProxy(once, async ({ capture, disconnected }) => {
    let text = '';
    for await (const bytes of capture(end.signal)) {
      text += bytes.toString();
      if (text !== 'first ') continue;
      answer?.write('second', () => answer?.destroy());
      await disconnected();
    }
    expect(text).toBe('first second');
  });
});

it('ends at the proxy when nobody reads on', async () => {
  await withProxy(
    (_, response) => void response.write('some'),
    async ({ capture, disconnected }) => {
      for await (const _ of capture()) break;
      await disconnected();
    },
  );
});
