/**
 * Clients that read nothing and ask for much, against a real agent: what it keeps is bounded, nothing is lost, and
 * what there is no room for is refused.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessHandle } from '@coracle/wire';
import { afterEach, expect, test } from 'vitest';
import { type AgentClient, type ClientProcess, LocalAgent, MiB, until } from './agent-harness.ts';

let agent: LocalAgent;
let client: AgentClient;

async function start(...args: string[]): Promise<void> {
  agent = await LocalAgent.start(args);
  client = await agent.connect();
  await client.createSandbox(agent.folder);
  const init = await client.create('c', { args: ['sleep', '1000'] });
  await init.attach();
  await client.start('c');
}

afterEach(async () => {
  await client.remove('c');
  expect(await agent.stop()).toBe(0);
  expect(agent.errors).toBe('');
});

const exec = (id: string, script: string): Promise<ClientProcess> =>
  client.exec('c', id, { args: ['sh', '-c', script] });

/** The most memory that the agent has had. */
function peakBytes(): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${agent.pid}/status`, 'utf8'))?.[1]) * 1024;
}

/** What the processes have written so far, and whether all of them sleep. */
function progress(handles: readonly ProcessHandle[]): { written: number; asleep: boolean } {
  let written = 0;
  let asleep = true;
  for (const { pid } of handles) {
    written += Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
    asleep &&= / S /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  }
  return { written, asleep };
}

test('200 processes that nobody reads cost what is allowed, and later every byte arrives', async () => {
  const COUNT = 200;
  await start();
  // What comes out of each is 1.5 MiB: 1 MiB would be kept of each, 200 MiB, if they did not share.
  const blob = randomBytes(1.5 * MiB);
  writeFileSync(join(agent.folder, 'rootfs/blob'), blob);
  const idleBytes = peakBytes();
  const unread: ClientProcess[] = [];
  const startOne = async (i: number): Promise<void> => {
    unread[i] = await exec(`reader-${i}`, `echo ${i}; exec cat /blob`);
  };
  for (let i = 0; i < COUNT; i += 10)
    await Promise.all(Array.from({ length: 10 }, (_, j) => startOne(i + j)));
  let before = -1;
  await until('all wait in a write', () => {
    const { written, asleep } = progress(unread.map(({ handle }) => handle));
    const still = written === before;
    before = written;
    return asleep && still;
  });
  expect(before).toBeLessThan(COUNT * blob.length);
  // 32 MiB that all share and 64 KiB each are 45 MiB, in blocks of which half may be empty; and V8's own growth.
  expect(peakBytes() - idleBytes).toBeLessThan(130 * MiB);
  await Promise.all(
    unread.map(async (process, i) => {
      await process.attach();
      await process.end();
      expect(process.exit?.waitStatus).toBe(0);
      expect(process.stdout.sha256()).toBe(createHash('sha256').update(`${i}\n`).update(blob).digest('hex'));
    }),
  );
  expect(peakBytes() - idleBytes).toBeLessThan(130 * MiB);
}, 60_000);

test('one process too many is refused, and there is room again when one has ended', async () => {
  await start('--max-processes', '4');
  for (const id of ['1', '2', '3']) await exec(id, 'exec sleep 1000');
  await expect(exec('4', 'true')).rejects.toMatchObject({
    code: 'resource_exhausted',
    reason: '4 processes run in this VM already',
  });
  await expect(client.create('d', { args: ['true'] })).rejects.toMatchObject({ code: 'resource_exhausted' });
  await client.requests.call('signalProcess', { containerId: 'c', execId: '2', signal: 9, all: false });
  await client.requests.call('waitProcess', { containerId: 'c', execId: '2' });
  const late = await exec('4', 'echo late');
  await late.attach();
  await late.end();
  expect(late.stdout.text).toBe('late\n');
});

test('of records the oldest goes whose exit was told, one with unread output never', async () => {
  await start('--max-exec-records', '4');
  const wait = (execId: string) => client.requests.call('waitProcess', { containerId: 'c', execId });
  /** The agent has reaped it, though nobody was told. */
  const reaped = (process: ClientProcess) =>
    until('it is reaped', () => {
      try {
        readFileSync(`/proc/${process.handle.pid}/stat`);
        return false;
      } catch {
        return true;
      }
    });
  const unread = await exec('unread', 'echo unread; exit 3');
  await reaped(unread);
  await reaped(await exec('unasked', 'exit 4'));
  await exec('told', 'exit 5');
  expect((await wait('told')).exit?.waitStatus).toBe(5 << 8);
  await exec('running', 'exec sleep 1000');
  // Younger than "unasked", but somebody knows how it ended.
  await reaped(await exec('5', 'exit 6'));
  await expect(wait('told')).rejects.toMatchObject({ code: 'not_found' });
  // Nobody has asked about the others: the oldest that left nothing.
  const kept = await exec('6', 'echo kept');
  await reaped(kept);
  await expect(wait('unasked')).rejects.toMatchObject({ code: 'not_found' });
  await exec('7', 'exec sleep 1000');
  await expect(wait('5')).rejects.toMatchObject({ code: 'not_found' });
  // "unread", "running", "6" with its output, and "7".
  await expect(exec('8', 'true')).rejects.toMatchObject({ code: 'resource_exhausted' });
  await unread.attach();
  await unread.end();
  expect([unread.stdout.text, unread.exit?.waitStatus]).toEqual(['unread\n', 3 << 8]);
  const next = await exec('8', 'true');
  await reaped(next);
  await expect(wait('unread')).rejects.toMatchObject({ code: 'not_found' });
});
