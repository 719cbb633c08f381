/**
 * Docker's name server as a guest has it, without the guest: what the agent hears at an address goes to the real
 * coracle-names over pipes, which asks a name server of ours. The rest of the way is a process's (shim.test.ts).
 */
import { spawn } from 'node:child_process';
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Listeners } from '../../packages/agent/src/names/listeners.ts';
import { queriesOver } from '../../packages/agent/src/names/name-server.ts';

const program = process.env.CORACLE_NAMES ?? new URL('../../bin/coracle-names', import.meta.url).pathname;
const ADDRESS = '127.0.0.11';
let tcp: Server;
let udp: Datagrams;
let port: number;

/** Answers a query by its first 12 bytes, the kind, and as many more bytes as its last two say. */
function answerTo(query: Buffer, kind: string): Buffer {
  return Buffer.concat([query.subarray(0, 12), Buffer.from(kind), Buffer.alloc(query.readUInt16BE(12), 'x')]);
}
const queryFor = (id: number, more = 0): Buffer => {
  const bytes = Buffer.alloc(14);
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt16BE(more, 12);
  return bytes;
};
const withLength = (message: Buffer): Buffer => {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length);
  return Buffer.concat([head, message]);
};
/** Of a stream, all of it. */
async function receive(socket: Socket, length: number): Promise<Buffer> {
  let all = Buffer.alloc(0);
  for await (const bytes of socket) {
    all = Buffer.concat([all, bytes]);
    if (all.length >= length) break;
  }
  return all;
}

beforeAll(async () => {
  tcp = createServer((socket) => {
    socket.once('data', (bytes) => {
      const answer = withLength(answerTo(bytes.subarray(2), 'tcp'));
      // In three pieces, of which the first cuts the length.
      for (const part of [answer.subarray(0, 1), answer.subarray(1, 9), answer.subarray(9)])
        socket.write(part);
    });
    socket.on('error', () => {});
  }).listen(0, ADDRESS);
  await once(tcp, 'listening');
  port = (tcp.address() as { port: number }).port;
  udp = createSocket('udp4');
  udp.on('message', (query, from) => udp.send(answerTo(query, 'udp'), from.port, from.address));
  udp.bind(port, ADDRESS);
  await once(udp, 'listening');
});
afterAll(() => {
  tcp.close();
  udp.close();
});

interface Relay extends AsyncDisposable {
  readonly port: number;
}

async function relay(): Promise<Relay> {
  const names = spawn(program, [ADDRESS, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const queries = queriesOver(names.stdout as Socket, names.stdin as Socket);
  const listeners = await Listeners.open('127.0.0.1', (...asked) => queries.ask(...asked));
  return {
    port: listeners.port,
    async [Symbol.asyncDispose]() {
      listeners[Symbol.dispose]();
      queries.dispose();
      names.stdin.end();
      // Its end is that of its stdin.
      if (names.exitCode === null) await once(names, 'exit');
      expect(names.exitCode).toBe(0);
    },
  };
}

test('queries by UDP, many at once, each with its own answer', async () => {
  await using relayed = await relay();
  const client = createSocket('udp4');
  const got = new Map<number, string>();
  const all = new Promise<void>((resolve) => {
    client.on('message', (answer, from) => {
      got.set(answer.readUInt16BE(), `${answer.subarray(12)} from ${from.port}`);
      if (got.size === 200) resolve();
    });
  });
  for (let id = 0; id < 200; id++) client.send(queryFor(id), relayed.port, '127.0.0.1');
  await all;
  client.close();
  expect(new Set(got.values())).toEqual(new Set([`udp from ${relayed.port}`]));
});

test('queries by TCP: long answers, one after the other on one connection, cut anywhere', async () => {
  await using relayed = await relay();
  for (const [id, more] of [
    [1, 0],
    [2, 65_520],
  ] as const) {
    const client = connect(relayed.port, '127.0.0.1');
    const query = withLength(queryFor(id, more));
    for (const byte of query) client.write(Buffer.of(byte));
    const answer = await receive(client, 2 + 15 + more);
    expect(answer.equals(withLength(answerTo(queryFor(id, more), 'tcp')))).toBe(true);
  }
  const client = connect(relayed.port, '127.0.0.1');
  // No more will come; the answers do.
  client.end(Buffer.concat([withLength(queryFor(3)), withLength(queryFor(4, 5))]));
  expect(await receive(client, 17 + 22)).toEqual(
    Buffer.concat([3, 4].map((id) => withLength(answerTo(queryFor(id, id === 4 ? 5 : 0), 'tcp')))),
  );
});

test('what is no query costs its sender the connection, and nobody else', async () => {
  await using relayed = await relay();
  for (const bytes of [Buffer.of(0, 0), Buffer.of(0, 3, 1, 2, 3)]) {
    const client = connect(relayed.port, '127.0.0.1');
    client.write(bytes);
    expect(await receive(client, 1)).toEqual(Buffer.alloc(0));
  }
  const cut = connect(relayed.port, '127.0.0.1');
  cut.end(withLength(queryFor(5)).subarray(0, 7));
  expect(await receive(cut, 1)).toEqual(Buffer.alloc(0));
  const client = connect(relayed.port, '127.0.0.1');
  client.write(withLength(queryFor(6)));
  expect((await receive(client, 17)).readUInt16BE(2)).toBe(6);
});

test('coracle-names ends when what it is told breaks the rules', async () => {
  for (const bytes of ['000b00000000', '000c00000200', '000c00000001']) {
    const names = spawn(program, [ADDRESS, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    names.stdin.write(Buffer.from(bytes, 'hex'));
    const [code] = await once(names, 'exit');
    expect(code).toBe(0);
  }
});
