import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { captureFromProxy } from './proxy-capture.ts';

/** Connections over unix sockets that this process has open. */
const connections = () => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;

it('keeps what has come when the proxy is killed before it was read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-'));
  const end = new AbortController();
  let answer: ServerResponse | undefined;
  const server = createServer((_, response) => {
    // It asks again: the first answer has ended.
    if (answer !== undefined) end.abort();
    answer = response;
    response.write('first ');
  });
  try {
    const socketPath = join(folder, 'proxy.sock');
    await new Promise<void>((resolve) => server.listen(`${socketPath}.debug`, resolve));
    const before = connections();
    let text = '';
    const options = { socketPath, content: 'headers', sandboxes: [], signal: end.signal } as const;
    for await (const bytes of captureFromProxy(options)) {
      text += bytes.toString();
      if (text !== 'first ') continue;
      answer?.write('second', () => answer?.destroy());
      await vi.waitUntil(() => connections() === before, { timeout: 10_000 });
    }
    expect(text).toBe('first second');
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  }
});
