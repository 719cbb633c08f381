/** The VMM's end of hybrid vsock, over real sockets: what is said before the link begins, and who is turned away. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net, { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { answerConnect } from './link-hybrid.ts';

let folder: string;
let path: string;
let taken: Duplex[];
const server = createServer((socket) => answerConnect(socket, 1024, { take: (one) => void taken.push(one) }));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-answer-'));
  path = join(folder, 'vsock.sock');
  taken = [];
  server.listen(path);
  await once(server, 'listening');
});
afterEach(async () => {
  for (const socket of taken) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

test.each([
  ['whole', ['CONNECT 1024\nfirst bytes']],
  ['cut anywhere', ['CON', 'NECT 10', '24', '\nfirst', ' bytes']],
])('CONNECT %s is answered, and what follows is the link’s', async (_, pieces) => {
  const host = net.connect(path);
  for (const piece of pieces) await new Promise((resolve) => host.write(piece, resolve));
  const [answer] = (await once(host, 'data')) as [Buffer];
  expect(String(answer)).toMatch(/^OK \d{10}\n$/);
  expect(taken).toHaveLength(1);
  host.end();
  expect(await text(taken[0] as Duplex)).toBe('first bytes');
});

test.each([
  ['another port', 'CONNECT 1025\n'],
  ['another command', 'HELLO 1024\n'],
  ['no number', 'CONNECT x\n'],
  ['a line without end', 'C'.repeat(19)],
])('%s is turned away without an answer', async (_, said) => {
  const host = net.connect(path);
  host.write(said);
  expect(await text(host)).toBe('');
  expect(taken).toEqual([]);
});
