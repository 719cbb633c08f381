import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { configurationText, notTaken, parseConfig, readConfiguration } from './configuration.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function fragment(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('later fragments and the options of the recipe take the place of earlier lines', async () => {
  const base = fragment('base', '# why\nCONFIG_SMP=y\nCONFIG_HZ_250=y\n\nCONFIG_INPUT=n\n');
  const own = fragment('own', 'CONFIG_INPUT=y\n');
  const options = await readConfiguration([base, own], { XFS_FS: 'y', LOCALVERSION: '"-mine"', SMP: 'n' });
  expect(configurationText(options).trim().split('\n')).toEqual([
    'CONFIG_SMP=n',
    'CONFIG_HZ_250=y',
    'CONFIG_INPUT=y',
    'CONFIG_XFS_FS=y',
    'CONFIG_LOCALVERSION="-mine"',
  ]);
});

test.each(['CONFIG_SMP', 'SMP=y', 'CONFIG_SMP=', 'CONFIG_A B=y'])(
  '%j is no line of a fragment',
  async (line) => {
    const path = fragment('bad', `# a comment\n${line}\n`);
    await expect(readConfiguration([path])).rejects.toThrow(`${path}:2: `);
  },
);

test('what Kconfig dropped or changed without a word is told, with where it was asked for', async () => {
  const path = fragment(
    'wanted',
    'CONFIG_SMP=y\nCONFIG_NO_SUCH=y\nCONFIG_INPUT=n\nCONFIG_NR_CPUS=64\nCONFIG_OFF=n\n',
  );
  const config = '# CONFIG_OFF is not set\nCONFIG_SMP=y\nCONFIG_INPUT=y\nCONFIG_NR_CPUS=8\n';
  expect(notTaken(await readConfiguration([path], { XFS_FS: 'y' }), config)).toEqual([
    `${path}:2: CONFIG_NO_SUCH=y: the kernel's configuration has n instead`,
    `${path}:3: CONFIG_INPUT=n: the kernel's configuration has y instead`,
    `${path}:4: CONFIG_NR_CPUS=64: the kernel's configuration has 8 instead`,
    "kernel.options.XFS_FS: CONFIG_XFS_FS=y: the kernel's configuration has n instead",
  ]);
  expect(parseConfig(config).get('CONFIG_NR_CPUS')).toBe('8');
});
