// Against the real kernel: a cgroup of a hierarchy of its own, in which a second process asks.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PortAlias } from './port-alias.ts';

const ADDRESS = '127.0.0.11';
const folder = mkdtempSync(join(tmpdir(), 'coracle-cgroup-'));
const cgroup = join(folder, `coracle-test-${process.pid}`);
let server: Server;
let datagrams: Socket;
let port: number;

beforeAll(async () => {
  execFileSync('mount', ['-t', 'cgroup2', 'none', folder]);
  mkdirSync(cgroup);
  server = createServer((socket) => socket.end('tcp')).listen(0, ADDRESS);
  await once(server, 'listening');
  port = (server.address() as { port: number }).port;
  datagrams = createSocket('udp4');
  datagrams.on('message', (_, from) => datagrams.send('udp', from.port, from.address));
  datagrams.bind(port, ADDRESS);
  await once(datagrams, 'listening');
});

afterAll(() => {
  server.close();
  datagrams.close();
  rmdirSync(cgroup);
  execFileSync('umount', [folder]);
  rmdirSync(folder);
});

/** Asks port 53 in the cgroup by TCP, by UDP without connecting, and by UDP connected; says what it got, and from where. */
const asker = `
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { once } from 'node:events';
await once(process.stdin, 'data');
const by = async (name, ask) => console.log(name, await Promise.race([ask(), new Promise((done) => setTimeout(done, 2000, 'nothing'))]));
await by('tcp', () => new Promise((done) => {
  const socket = connect(53, '${ADDRESS}');
  socket.on('data', (data) => done(data + ' from ' + socket.remotePort));
  socket.on('error', (error) => done(error.code));
}));
for (const connected of [false, true]) await by('udp', () => new Promise((done) => {
  const socket = createSocket('udp4');
  socket.on('message', (data, from) => { done(data + ' from ' + from.port); socket.close(); });
  socket.on('error', (error) => done(error.code));
  if (connected) socket.connect(53, '${ADDRESS}', () => socket.send('?'));
  else socket.send('?', 53, '${ADDRESS}');
}));
// The port itself is free.
const listening = createSocket('udp4');
listening.bind(53, '0.0.0.0', () => { console.log('bound'); process.exit(); });
`;

async function ask(): Promise<string[]> {
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', asker], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout!.on('data', (bytes) => {
    output += bytes;
  });
  const ended = once(child, 'exit');
  writeFileSync(join(cgroup, 'cgroup.procs'), String(child.pid));
  child.stdin!.write('go\n');
  await ended;
  return output.trim().split('\n');
}

it('lets a port stand for another one, by TCP and UDP, both ways, as long as it is there', async () => {
  {
    using _alias = new PortAlias(cgroup, { address: ADDRESS, port: 53, target: port });
    expect(await ask()).toEqual(['tcp tcp from 53', 'udp udp from 53', 'udp udp from 53', 'bound']);
  }
  expect((await ask())[0]).toBe('tcp ECONNREFUSED');
  expect(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8')).toBe('');
});

it('names what it cannot do', () => {
  expect(() => new PortAlias('/tmp', { address: ADDRESS, port: 53, target: port })).toThrow(/bpf.*attach/);
  expect(() => new PortAlias(cgroup, { address: '::1', port: 53, target: port })).toThrow(/no IPv4/);
});
