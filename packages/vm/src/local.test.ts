import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findOwned, isAlive } from './identity.ts';
import { createLocalDriver } from './local.ts';
import { readRecord } from './record.ts';
import { temporaryFolder } from './testing.ts';
import { openVm, stopVm } from './vm.ts';

// The agent's side of the contract, and no more: it listens where it is told. The real one is in test/local.
const listens = `
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
const { values } = parseArgs({ options: { local: { type: 'boolean' }, link: { type: 'string' }, state: { type: 'string' } } });
if (!values.local || !values.state) process.exit(9);
// Before it can be seen that it listens: that is when it may be ended.
process.on('SIGTERM', () => process.exit(7));
createServer().listen(values.link);
`;

function fixture(source: string) {
  const folder = temporaryFolder();
  const agentEntry = join(folder, 'agent.mjs');
  writeFileSync(agentEntry, source);
  const directory = join(folder, 'vm');
  mkdirSync(directory);
  onTestFinished(() => stopVm(directory, true));
  const spec = { directory, image: '', memoryBytes: 0, vcpus: 1, shares: [] };
  return { driver: createLocalDriver({ agentEntry }), spec, directory };
}

test('an agent is started, found again by its folder, and ended', async () => {
  const { driver, spec, directory } = fixture(listens);
  const vm = await driver.start(spec);
  const again = openVm(directory);
  expect(again.pids).toEqual(vm.pids);
  expect(await again.status()).toBe('running');
  await expect(again.pause()).rejects.toThrow(/the local driver has no VM to pause/);
  const exits = Promise.all([vm.waitExit(), again.waitExit()]);
  await again.stop();
  expect(await exits).toEqual([{ kind: 'exited', code: 7 }, { kind: 'gone' }]);
  expect(await vm.status()).toBe('gone');
  expect(readRecord(directory)?.state).toBe('stopped');
  await vm.stop({ force: true });
  await again.stop();
  expect(readdirSync(directory).toSorted()).toEqual(['agent', 'agent.log', 'vm.json']);
});

test('force kills', async () => {
  const { driver, spec } = fixture(listens);
  const vm = await driver.start(spec);
  await vm.stop({ force: true });
  expect(await vm.waitExit()).toEqual({ kind: 'signalled', signal: 'SIGKILL' });
});

test('it runs in a session of its own, with nothing of ours open and nothing of our environment', async () => {
  process.env.CORACLE_TEST_SECRET = 'x';
  onTestFinished(() => void delete process.env.CORACLE_TEST_SECRET);
  const server = createServer().listen(0);
  onTestFinished(() => void server.close());
  const report = `
    import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
    const links = readdirSync('/proc/self/fd').map((fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } });
    console.log(JSON.stringify({ links, env: Object.keys(process.env), session: readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ')[3] }));
    ${listens}`;
  const { driver, spec, directory } = fixture(report);
  const vm = await driver.start(spec);
  const seen = JSON.parse(readFileSync(join(directory, 'agent.log'), 'utf8').split('\n')[0]!);
  expect(seen.env.toSorted()).toEqual(['CORACLE_VM', 'LC_ALL', 'MALLOC_ARENA_MAX', 'PATH']);
  expect(Number(seen.session)).toBe(vm.pids[0]);
  expect(seen.links.filter((link: string) => link.startsWith('socket:'))).toEqual([]);
});

test('an agent that ends at its start is reported with its output, and leaves nothing', async () => {
  const { driver, spec, directory } = fixture('console.error("no good"); process.exit(5);');
  await expect(driver.start(spec)).rejects.toThrow(/the local agent ended at its start with code 5: no good/);
  expect(readdirSync(directory)).toEqual(['agent']);
});

test('a start that was killed before it wrote the pid down is cleaned up all the same', async () => {
  const { driver, spec, directory } = fixture(listens);
  const vm = await driver.start(spec);
  const [identity] = findOwned(directory);
  writeFileSync(
    join(directory, 'vm.json'),
    JSON.stringify({ ...readRecord(directory), main: undefined, state: 'starting' }),
  );
  await openVm(directory).stop({ force: true });
  expect(isAlive(identity!)).toBe(false);
  expect(await vm.waitExit()).toEqual({ kind: 'signalled', signal: 'SIGKILL' });
});

test('an agent that is not there, and a folder without a VM', async () => {
  const { spec, directory } = fixture('');
  const driver = createLocalDriver({ agentEntry: '/nowhere/agent.js' });
  await expect(driver.start(spec)).rejects.toMatchObject({ code: 'agent-missing' });
  expect(() => openVm(directory)).toThrow(expect.objectContaining({ code: 'not-started' }));
});
