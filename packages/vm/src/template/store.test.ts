import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../testing.ts';
import { type Extent, memoryDigest } from './memory.ts';
import { KEPT_TEMPLATES, TemplateStore } from './store.ts';

const keyOf = (n: number): string => n.toString(16).padStart(32, '0');

function storeWith(count: number): TemplateStore {
  const store = new TemplateStore(temporaryFolder());
  store.prepare();
  for (let n = 0; n < count; n++) {
    const directory = store.directory(keyOf(n));
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(join(directory, 'ram'), 'the memory of a machine');
    writeFileSync(join(directory, 'state'), 'its devices');
    const extents: Extent[] = [[0, 23]];
    const record = {
      version: 1,
      memoryBytes: 23,
      extents,
      ramSha256: memoryDigest(join(directory, 'ram'), extents),
      stateSha256: createHash('sha256').update('its devices').digest('hex'),
    };
    writeFileSync(join(directory, 'template.json'), JSON.stringify(record));
    utimesSync(join(directory, 'template.json'), n, n);
  }
  return store;
}

test('what is not there is not found; what is there and whole is', async () => {
  const store = storeWith(1);
  expect(store.find(keyOf(7))).toBe(undefined);
  await store.verify(store.find(keyOf(0))!);
});

const flip = (path: string) => {
  const bytes = readFileSync(path);
  bytes[0]! ^= 1;
  writeFileSync(path, bytes);
};
test.each([
  ['a bit of the memory', 'ram', flip, /ram has SHA-256 \w{64} and should have \w{64}/],
  ['a bit of the devices', 'state', flip, /state has SHA-256 \w{64} and should have \w{64}/],
  [
    'the end of the memory',
    'ram',
    (path: string) => truncateSync(path, 9),
    /ram has 9 bytes and should have 23/,
  ],
  ['the end of the devices', 'state', (path: string) => truncateSync(path, 0), /state has SHA-256/],
] as const)('%s that was changed is told', async (_, file, change, message) => {
  const store = storeWith(1);
  const template = store.find(keyOf(0))!;
  // Its digest is known from now on, and must not be believed of the file as it is later.
  await store.verify(template);
  change(join(template.directory, file));
  await expect(store.verify(template)).rejects.toThrow(message);
});

test('one that others may enter is refused', () => {
  const store = storeWith(1);
  chmodSync(store.directory(keyOf(0)), 0o750);
  expect(() => store.find(keyOf(0))).toThrow('its mode is 750');
  expect(store.list()).toMatchObject([{ key: keyOf(0), fault: expect.stringContaining('its mode is 750') }]);
});

test('those that were used last stay', () => {
  const store = storeWith(KEPT_TEMPLATES + 2);
  store.noteUse(store.find(keyOf(0))!);
  expect(store.prune()).toEqual([keyOf(2), keyOf(1)]);
  expect(store.list().map(({ key }) => key)).toContain(keyOf(0));
  expect(store.prune(0)).toHaveLength(KEPT_TEMPLATES);
  expect(store.list()).toEqual([]);
});

test('why one could not be made is known, and forgotten when it could', () => {
  const store = storeWith(1);
  expect(store.failure(keyOf(5))).toBe(undefined);
  store.noteFailure(keyOf(5), 'no space left on device');
  expect(store.failure(keyOf(5))).toBe('no space left on device');
  store.publish(keyOf(5), store.directory(keyOf(0)));
  expect(store.failure(keyOf(5))).toBe(undefined);
  expect(store.find(keyOf(5))).toBeDefined();
});

test('what a maker that was killed has left is removed, and nothing of one that works', () => {
  const store = storeWith(1);
  const [dead, working] = [
    `${store.directory(keyOf(1))}.new-4194305`,
    `${store.directory(keyOf(1))}.new-${process.pid}`,
  ];
  for (const folder of [dead, working]) mkdirSync(folder);
  store.removeUnfinished();
  expect([dead, working, store.directory(keyOf(0))].map((path) => existsSync(path))).toEqual([
    false,
    true,
    true,
  ]);
});
