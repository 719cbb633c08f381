/**
 * A container with a limit of 64 MiB in the VM that the command line sizes for it: 192 MiB. What it is promised it gets;
 * what goes over the limit dies alone, and the guest has room for everything else that is going on.
 */
import { readFileSync } from 'node:fs';
import { readRecord } from '@coracle/vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { guestEnv, MiB, Place, SharedContainer } from '../contract/place.ts';
import { until } from '../support/wait.ts';

const limit = 64 * MiB;

let place: Place;
let shared: SharedContainer;
beforeAll(async () => {
  place = new Place('qemu');
  shared = await SharedContainer.start(place, (config) => {
    config.linux.resources = { memory: { limit } };
  });
});
afterAll(async () => {
  await shared?.[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

/** dd holds one block in memory. */
const holds = (mebibytes: number): string[] => [
  'dd',
  'if=/dev/zero',
  'of=/dev/null',
  `bs=${mebibytes}M`,
  'count=1',
];

test('the VM has 192 MiB', () => {
  const { sandboxDirectory } = place.files(shared.id);
  expect(readRecord(sandboxDirectory)?.memoryBytes).toBe(192 * MiB);
});

test('processes run one after the other and together', async () => {
  expect(await shared.exec(['echo', 'hello'])).toMatchObject({ code: 0, stdout: 'hello\n' });
  const together = await Promise.all(Array.from({ length: 4 }, () => shared.exec(['true'])));
  expect(together.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
});

test('a process may use 60 MiB', async () => {
  expect(await shared.exec(holds(60))).toMatchObject({ code: 0 });
});

test('one that goes over the limit is killed and says so; agent and container go on', async () => {
  const process = await shared.container.exec({ args: holds(100), env: guestEnv });
  const { result } = await process.output();
  expect(result).toMatchObject({ code: 137, signal: 'SIGKILL' });
  expect(await shared.exec(holds(100))).toMatchObject({ code: 137 });
  expect(await place.status(shared.id)).toBe('running');
  expect(await shared.exec(['echo', 'still here'])).toMatchObject({ code: 0, stdout: 'still here\n' });
});

test('200,000 lines pass a terminal whole', async () => {
  const process = await shared.container.exec({
    args: ['seq', '1', '200000'],
    env: guestEnv,
    terminal: { columns: 80, rows: 24 },
  });
  const { stdout, result } = await process.output();
  expect(result.code).toBe(0);
  expect(stdout.toString('latin1')).toBe(Array.from({ length: 200_000 }, (_, i) => `${i + 1}\r\n`).join(''));
});

test('what the guest itself has in use leaves the container its limit', async () => {
  const { memory } = await shared.sandbox.details();
  expect(memory?.availableBytes).toBeGreaterThan(limit);
});

// A VM kept all that its container had ever used.
test('memory that a container has given back goes back to the host', () => givesBack(shared, 60));

test('so it does from a VM that was started from a template', async () => {
  expect(await place.coracle(['template', 'build'])).toMatchObject({ code: 0 });
  await using unlimited = await SharedContainer.start(place);
  expect(readRecord(place.files(unlimited.id).sandboxDirectory)?.template).toBeDefined();
  await givesBack(unlimited, 300);
});

async function givesBack(container: SharedContainer, mebibytes: number): Promise<void> {
  const pid = readRecord(place.files(container.id).sandboxDirectory)?.main?.pid;
  const resident = (): number => {
    const kilobytes = /^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return (Number(kilobytes) * 1024) / MiB;
  };
  const peak = await mostDuring(container.exec(holds(mebibytes)), resident);
  await until(() => resident() < peak - mebibytes / 2, 'its pages are given back', 120_000);
}

/** What was used is given back soon, perhaps before anybody hears of the end. */
async function mostDuring(ended: Promise<{ code: number }>, resident: () => number): Promise<number> {
  let [most, over] = [0, false];
  const end = () => {
    over = true;
  };
  ended.then(end, end);
  await until(() => {
    most = Math.max(most, resident());
    return over;
  }, 'it has ended');
  expect(await ended).toMatchObject({ code: 0 });
  return most;
}
