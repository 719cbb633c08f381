/** As root: makes pid namespaces. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NamespaceMembers } from './members.ts';

/** The kernel gives the number of a namespace that has ended to the next: often, so a few rounds find it. */
const ROUNDS = 10;

test('a namespace that has ended has no members, even when its number is given again', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const ended = await startInit();
    const members = new NamespaceMembers(ended.init, () => []);
    expect(members.pids()).toEqual([ended.init]);
    await end(ended);
    const next = await startInit();
    expect(members.pids()).toEqual([]);
    await end(next);
  }
});

interface Namespace {
  readonly child: ChildProcess;
  readonly init: number;
}

/** A shell that is the first process of a pid namespace. */
async function startInit(): Promise<Namespace> {
  const args = ['--pid', '--fork', '--kill-child', 'sh', '-c', 'echo ready; exec sleep 1000'];
  const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout!, 'data');
  const init = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'));
  return { child, init };
}

async function end({ child, init }: Namespace): Promise<void> {
  const exit = once(child, 'exit');
  process.kill(init, 'SIGKILL');
  await exit;
}
