import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseDebianCopyright, readDebianLicences } from './debian-copyright.ts';

const text = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: crun

Files: *
Copyright: 2017 somebody
License: GPL-2+

Files: a/* b/*
License: ISC
 Permission to use, copy,
 .
 License: not this line

Files: c/*
License: GPL-2+

License: MIT-X11
 Only the text of a licence.
`;

test('names the licences of files, each once', () => {
  expect(parseDebianCopyright(text)).toEqual(['GPL-2+', 'ISC']);
});

test('a file that is for people only names none', () => {
  expect(parseDebianCopyright('This package was debianized by\n\nLicense:\n\nGPL')).toBeUndefined();
  expect(parseDebianCopyright('')).toBeUndefined();
});

test('is found where packages share a documentation folder', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-image-'));
  try {
    const packages = ['libgcc-s1', 'gcc-12-base', 'bare'].map((name) => ({
      name,
      folder: join(folder, name),
    }));
    mkdirSync(join(folder, 'gcc-12-base/usr/share/doc/gcc-12-base'), { recursive: true });
    writeFileSync(join(folder, 'gcc-12-base/usr/share/doc/gcc-12-base/copyright'), text);
    mkdirSync(join(folder, 'libgcc-s1/usr/share/doc'), { recursive: true });
    symlinkSync('gcc-12-base', join(folder, 'libgcc-s1/usr/share/doc/libgcc-s1'));
    expect(await readDebianLicences('libgcc-s1', packages)).toEqual(['GPL-2+', 'ISC']);
    expect(await readDebianLicences('bare', packages)).toBeUndefined();
    expect(await readDebianLicences('absent', packages)).toBeUndefined();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
