/** A root packed as EROFS, ext4 or initramfs: the same bits whoever packs it, where and when; all owned by root. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256File } from '../digest.ts';
import { makeErofs } from './erofs.ts';
import { makeExt4 } from './ext4.ts';
import { makeInitramfs } from './initramfs.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-image-'));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const formats = {
  erofs: (root: string, output: string) => makeErofs(root, output),
  'erofs, lz4': (root: string, output: string) => makeErofs(root, output, undefined, 'lz4'),
  'erofs, lz4hc': (root: string, output: string) => makeErofs(root, output, undefined, 'lz4hc'),
  ext4: (root: string, output: string) => makeExt4(root, output),
  initramfs: (root: string, output: string) => makeInitramfs(root, output),
};

const files = ['init', 'usr/bin/long name "quoted"', 'etc/empty', ...many('usr/share/f', 300)];

function many(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${(index * 7) % count}`);
}

/** @param owner of all files, where the caller may give them away */
function makeRoot(name: string, order: readonly string[], date: Date, owner?: number): string {
  const root = join(folder, name);
  for (const path of ['usr/bin', 'usr/share', 'etc', 'tmp', 'root'])
    mkdirSync(join(root, path), { recursive: true });
  for (const path of order) {
    const content = path === 'etc/empty' ? '' : path === 'init' ? Buffer.alloc(100_000) : path.repeat(500);
    writeFileSync(join(root, path), content);
    chmodSync(join(root, path), path === 'init' ? 0o755 : 0o644);
  }
  symlinkSync('usr/bin', join(root, 'bin'));
  symlinkSync('/'.padEnd(200, 'x'), join(root, 'etc/long'));
  for (const path of ['', 'usr', 'usr/bin', 'usr/share', 'etc']) chmodSync(join(root, path), 0o755);
  chmodSync(join(root, 'tmp'), 0o1777);
  chmodSync(join(root, 'root'), 0o700);
  for (const path of [...order, 'bin', 'usr', 'etc']) lutimesSync(join(root, path), date, date);
  if (owner !== undefined) execFileSync('chown', ['-hR', `${owner}:${owner}`, root]);
  return root;
}

describe.each(Object.entries(formats))('%s', (_name, make) => {
  test('is the same from another folder, in another order, at another time, under another umask', async () => {
    const first = makeRoot('a', files, new Date(0));
    await make(first, join(folder, 'one'));
    const previous = process.umask(0o077);
    try {
      const second = makeRoot('deeper/and longer', files.toReversed(), new Date());
      // The same zeros, as a hole in the builder's file system.
      truncateSync(join(second, 'init'), 0);
      truncateSync(join(second, 'init'), 100_000);
      await make(second, join(folder, 'two'));
    } finally {
      process.umask(previous);
    }
    await make(makeRoot('c', files.slice(0, -1), new Date()), join(folder, 'other'));
    const digest = await sha256File(join(folder, 'one'));
    expect(await sha256File(join(folder, 'two'))).toBe(digest);
    expect(await sha256File(join(folder, 'other'))).not.toBe(digest);
    expect(readdirSync(folder).sort()).toEqual(['a', 'c', 'deeper', 'one', 'other', 'two']);
  });
});

test.runIf(process.getuid?.() === 0)('another user makes the same bits', async () => {
  const nobody = 65534;
  const mine = makeRoot('mine', files, new Date(0));
  const theirs = makeRoot('theirs', files, new Date(), nobody);
  const output = join(folder, 'output');
  mkdirSync(output);
  chownSync(output, nobody, nobody);
  // The modules are loaded first: the other user may not be able to read the checkout.
  const script = `
    import { makeErofs } from '${import.meta.dirname}/erofs.ts';
    import { makeExt4 } from '${import.meta.dirname}/ext4.ts';
    import { makeInitramfs } from '${import.meta.dirname}/initramfs.ts';
    process.chdir('/');
    process.setgroups([]);
    process.setgid(${nobody});
    process.setuid(${nobody});
    await makeErofs('${theirs}', '${output}/erofs');
    await makeExt4('${theirs}', '${output}/ext4');
    await makeInitramfs('${theirs}', '${output}/initramfs');
  `;
  execFileSync(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'pipe' });
  for (const name of ['erofs', 'ext4', 'initramfs'] as const) {
    await formats[name](mine, join(folder, name));
    expect(await sha256File(join(output, name)), name).toBe(await sha256File(join(folder, name)));
  }
});

describe('ext4', () => {
  test('is sound, read-only and full, and everything in it belongs to root', async () => {
    const image = join(folder, 'root.ext4');
    const root = makeRoot('a', files, new Date());
    if (process.getuid?.() === 0) execFileSync('chown', ['-hR', '1000:1000', root]);
    await makeExt4(root, image);
    const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
    const ask = (file: string, ...args: string[]) =>
      execFileSync(file, args, { encoding: 'utf8', env: environment, stdio: ['ignore', 'pipe', 'ignore'] });
    ask('e2fsck', '-fn', image);
    expect(ask('dumpe2fs', '-h', image)).toMatch(/Filesystem features:.* read-only$/m);
    expect(ask('dumpe2fs', '-h', image)).toMatch(/Free blocks: +\d{1,2}$/m);
    const listed = ask('debugfs', '-R', 'ls -p /', image);
    expect(listed).toContain('/041777/0/0/tmp//');
    expect(listed).toContain('/040700/0/0/root//');
    expect(listed).toContain('/100755/0/0/init/100000/');
    expect(listed).not.toContain('1000/1000');
    expect(listed).not.toContain('lost+found');
    expect(ask('debugfs', '-R', 'cat "/usr/bin/long name ""quoted"""', image)).toBe(
      readFileSync(join(root, 'usr/bin/long name "quoted"'), 'utf8'),
    );
    expect(ask('debugfs', '-R', 'stat /etc/long', image)).toMatch(/mtime: 0x0+1:/);
  });

  test('a name that debugfs cannot be told is refused, and nothing is left', async () => {
    const root = makeRoot('a', files, new Date());
    writeFileSync(join(root, 'two\nlines'), '');
    await expect(makeExt4(root, join(folder, 'root.ext4'))).rejects.toMatchObject({ code: 'output-refused' });
    expect(readdirSync(folder)).toEqual(['a']);
  });
});

test('the /init of an initramfs may be a link', async () => {
  const root = makeRoot('a', files, new Date());
  renameSync(join(root, 'init'), join(root, 'usr/bin/init'));
  symlinkSync('/usr/bin/init', join(root, 'init'));
  await makeInitramfs(root, join(folder, 'initrd.img'));
});

test('an initramfs without /init is refused', async () => {
  const root = makeRoot('a', files, new Date());
  rmSync(join(root, 'init'));
  await expect(makeInitramfs(root, join(folder, 'initrd.img'))).rejects.toMatchObject({
    code: 'input-missing',
    message: expect.stringContaining('/init'),
  });
});
