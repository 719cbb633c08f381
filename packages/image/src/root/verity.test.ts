import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkVerity } from '../look/check-verity.ts';
import { makeErofs } from './erofs.ts';
import { addVerity, type Verity, verityArgument } from './verity.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-verity-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function makeImage(name: string, text = 'hello'): Promise<{ path: string; verity: Verity }> {
  const [tree, path] = [join(folder, name), join(folder, `${name}.erofs`)];
  mkdirSync(tree);
  writeFileSync(join(tree, 'greeting'), text.repeat(100_000));
  await makeErofs(tree, path);
  return { path, verity: await addVerity(path) };
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0x80;
  writeFileSync(path, bytes);
}

test('the same tree has the same root hash, and another tree another', async () => {
  const [a, b] = [await makeImage('a'), await makeImage('b')];
  expect(b.verity).toEqual(a.verity);
  expect(readFileSync(b.path).equals(readFileSync(a.path))).toBe(true);
  expect((await makeImage('c', 'hullo')).verity.rootHash).not.toBe(a.verity.rootHash);
});

test('veritysetup accepts what was made, and names the block of each byte that was flipped', async () => {
  const { path, verity } = await makeImage('a');
  expect(await checkVerity(path, verity)).toBeUndefined();
  const data = 7 * 4096 + 11;
  const tree = verity.hashStartBlock * 4096 + 5;
  flip(path, data);
  expect(await checkVerity(path, verity)).toMatch(/: block 7 \(byte 28672\) was changed: .* root hash/);
  flip(path, data);
  flip(path, tree);
  expect(await checkVerity(path, verity)).toContain(`does not fit the root hash ${verity.rootHash}`);
  flip(path, tree);
  expect(await checkVerity(path, verity)).toBeUndefined();
});

test('another root hash, a cut tree and one that is not there are refused', async () => {
  const { path, verity } = await makeImage('a');
  expect(await checkVerity(path, { ...verity, rootHash: '0'.repeat(64) })).toContain('root hash 000');
  writeFileSync(path, readFileSync(path).subarray(0, -4096));
  expect(await checkVerity(path, verity)).toContain(path);
  writeFileSync(path, readFileSync(path).subarray(0, 4096));
  expect(await checkVerity(path, verity)).toContain(path);
});

test('an image that does not end on a block is filled up before its tree', async () => {
  const path = join(folder, 'odd');
  appendFileSync(path, 'x'.repeat(5000));
  const verity = await addVerity(path);
  expect(verity).toMatchObject({ dataBlocks: 2, hashStartBlock: 2 });
  expect(await checkVerity(path, verity)).toBeUndefined();
});

test("the kernel's table counts the data in sectors and the tree's start in blocks", async () => {
  const { verity } = await makeImage('a');
  const { dataBlocks, rootHash, salt } = verity;
  expect(verityArgument(verity, '/dev/vda')).toBe(
    `dm-mod.create="coracle-root,,,ro,0 ${dataBlocks * 8} verity 1 /dev/vda /dev/vda 4096 4096 ` +
      `${dataBlocks} ${dataBlocks} sha256 ${rootHash} ${salt} 1 panic_on_corruption"`,
  );
});
