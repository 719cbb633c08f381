import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dependenciesOf, describeModule, type ModuleCatalog, moduleKey, orderModules } from './modules.ts';

/** A catalog out of `name: [depends, soft]`. */
function catalog(
  modules: Record<string, [depends: string[], soft?: string[]]>,
  builtin: string[] = [],
): ModuleCatalog {
  return {
    paths: new Map(Object.keys(modules).map((name) => [moduleKey(name), `kernel/${name}.ko`])),
    builtin: new Set(builtin.map(moduleKey)),
    read: (path) => {
      const name = path.slice('kernel/'.length, -'.ko'.length);
      const [depends = [], softDependsBefore = []] = modules[name] ?? [];
      return { path, depends, softDependsBefore };
    },
  };
}

const names = (modules: { path: string }[]) => modules.map((module) => moduleKey(module.path));

const virtio = catalog(
  {
    virtio_ring: [[]],
    virtio: [['virtio_ring']],
    virtio_pci: [['virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_ring']],
    virtio_pci_legacy_dev: [[]],
    virtio_pci_modern_dev: [[]],
    'virtio-rng': [['virtio']],
    libcrc32c: [[], ['crc32c']],
    erofs: [['libcrc32c']],
    'crc32c-intel': [[]],
    overlay: [[], ['crc32c-intel']],
  },
  ['ext4', 'crc32c_generic'],
);

describe('dependenciesOf', () => {
  test('names what is loaded before a module on request, the last one first, but not what is there', () => {
    expect(names(dependenciesOf(virtio, 'virtio_pci', []))).toEqual([
      'virtio_pci_modern_dev',
      'virtio_pci_legacy_dev',
      'virtio',
      'virtio_ring',
    ]);
    const loaded = orderModules(virtio, ['virtio-rng'], []);
    expect(names(dependenciesOf(virtio, 'virtio_pci', loaded))).toEqual([
      'virtio_pci_modern_dev',
      'virtio_pci_legacy_dev',
    ]);
  });
});

describe('orderModules', () => {
  test('puts what a module depends on before it', () => {
    expect(names(orderModules(virtio, ['virtio_pci'], []))).toEqual([
      'virtio_ring',
      'virtio',
      'virtio_pci_legacy_dev',
      'virtio_pci_modern_dev',
      'virtio_pci',
    ]);
  });

  test('takes - and _ for the same, passes over what is built in, and loads nothing twice', () => {
    expect(names(orderModules(virtio, ['virtio_rng', 'ext4', 'virtio-rng', 'virtio'], []))).toEqual([
      'virtio_ring',
      'virtio',
      'virtio_rng',
    ]);
  });

  test('a soft dependency comes first where it is a module, and may be an alias', () => {
    expect(names(orderModules(virtio, ['overlay', 'erofs'], []))).toEqual([
      'crc32c_intel',
      'overlay',
      'libcrc32c',
      'erofs',
    ]);
  });

  test('an optional module may be missing, a required one may not', () => {
    expect(names(orderModules(virtio, [], ['9p', 'virtio']))).toEqual(['virtio_ring', 'virtio']);
    expect(() => orderModules(virtio, ['9p'], [])).toThrow(
      'the kernel has no module 9p (wanted by the recipe)',
    );
  });

  test('soft dependencies in a circle end', () => {
    const circle = catalog({ a: [[], ['b']], b: [['a']] });
    expect(names(orderModules(circle, ['a'], [])).sort()).toEqual(['a', 'b']);
  });

  test('any order of wishes gives an order in which every dependency is met', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...virtio.paths.keys()]), (wanted) => {
        const loaded = new Set<string>();
        for (const module of orderModules(virtio, wanted, [])) {
          for (const needed of module.depends) expect(loaded).toContain(moduleKey(needed));
          loaded.add(moduleKey(module.path));
        }
        for (const name of wanted) expect(loaded).toContain(name);
      }),
    );
  });
});

test('describeModule reads depends and the part of softdep that comes before', () => {
  const info = [
    ['license', 'GPL'],
    ['depends', 'virtio,virtio_ring'],
    ['softdep', 'pre: crc32c aes post: later'],
  ] as const;
  expect(describeModule('kernel/x.ko', info)).toEqual({
    path: 'kernel/x.ko',
    depends: ['virtio', 'virtio_ring'],
    softDependsBefore: ['crc32c', 'aes'],
  });
});
