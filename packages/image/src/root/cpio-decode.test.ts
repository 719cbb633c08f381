import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpioEntry, encodeCpio } from './cpio.ts';
import { decodeCpio } from './cpio-decode.ts';

const entries: CpioEntry[] = [
  { kind: 'directory', path: 'tmp', mode: 0o1777 },
  { kind: 'file', path: 'a/b/odd', data: Buffer.from('12345'), mode: 0o600 },
  { kind: 'symlink', path: 'bin', target: 'usr/bin' },
];
const archive = encodeCpio(entries);

describe('decodeCpio', () => {
  test('reads what encodeCpio wrote', () => {
    const members = decodeCpio(archive, 'x').map(({ data, mode, ...rest }) => ({
      ...rest,
      mode: mode.toString(8),
      data: data.toString(),
    }));
    const common = { owner: '0:0', data: '' };
    expect(members).toEqual([
      { ...common, path: 'a', type: 'directory', mode: '755' },
      { ...common, path: 'a/b', type: 'directory', mode: '755' },
      { ...common, path: 'a/b/odd', type: 'file', mode: '600', data: '12345' },
      { ...common, path: 'bin', type: 'symlink', mode: '777', data: 'usr/bin' },
      { ...common, path: 'tmp', type: 'directory', mode: '1777' },
    ]);
  });

  test('refuses an archive that was cut anywhere', () => {
    for (let length = 0; length < archive.length - 3; length++) {
      expect(() => decodeCpio(archive.subarray(0, length), 'initrd.img')).toThrow('initrd.img is not');
    }
  });

  test('refuses or reads whatever it is given, and hands out no path that leads out', () => {
    fc.assert(
      fc.property(fc.nat(archive.length - 1), fc.nat(255), (at, byte) => {
        const changed = Buffer.from(archive);
        changed[at] = byte;
        try {
          for (const { path } of decodeCpio(changed, 'x')) expect(path).not.toMatch(/^\/|(^|\/)\.\.?(\/|$)/);
        } catch (error) {
          expect(error).toMatchObject({ code: 'image-invalid' });
        }
      }),
    );
  });

  test.each([
    ['../x', 'bin'],
    ['bin/x', 'bin'],
  ])('refuses the path %s', (path, other) => {
    // Of the same length as an honest one, so that the header fits.
    const honest = 'q'.repeat(path.length);
    const bytes = encodeCpio([
      { kind: 'symlink', path: other, target: '/etc' },
      { kind: 'file', path: honest, data: Buffer.from('x') },
    ]);
    bytes.write(path, bytes.indexOf(honest));
    expect(() => decodeCpio(bytes, 'x')).toThrow(`the path "${path}"`);
  });
});
