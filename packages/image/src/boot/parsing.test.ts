import { expect, test } from 'vitest';
import { parseSmaps } from './host-memory.ts';
import { parseInitcalls } from './initcalls.ts';

test('initcalls, slowest first', () => {
  const console = [
    '[    0.118712] calling  erofs_module_init+0x0/0xe0 @ 1\r',
    '[    0.120001] initcall erofs_module_init+0x0/0xe0 returned 0 after 1284 usecs\r',
    '[    0.130000] initcall acpi_init+0x0/0x4d0 returned 0 after 20300 usecs\r',
    '[    0.140000] initcall no_device_init+0x0/0x10 returned -19 after 7 usecs\r',
    'coracle-boot: agent\r',
  ].join('\n');
  expect(parseInitcalls(console)).toEqual([
    { name: 'acpi_init', microseconds: 20300 },
    { name: 'erofs_module_init', microseconds: 1284 },
    { name: 'no_device_init', microseconds: 7 },
  ]);
});

test("QEMU's mappings by kind", () => {
  const mapping = (head: string, rss: number, pss: number): string =>
    `${head}\nSize:  9999 kB\nRss:  ${rss} kB\nPss:  ${pss} kB\nPss_Dirty: 1 kB\nVmFlags: rd wr\n`;
  const smaps = [
    mapping('55d0c0a0-55d0c0b0 r-xp 00000000 fe:00 1234      /usr/bin/qemu-system-x86_64', 4000, 400),
    mapping('55d0c1a0-55d0c1b0 rw-p 00000000 00:00 0         [heap]', 300, 300),
    mapping('7f0000000000-7f0010000000 rw-s 00000000 00:01 99 /memfd:memory-backend-memfd (deleted)', 50, 49),
    mapping('7f1000000000-7f1007c00000 r--s 00000000 fe:00 77 /images/my base/rootfs.erofs', 600, 200),
    mapping('7f2000000000-7f2010000000 rwxp 00000000 00:00 0 ', 70, 70),
    mapping('7f3000000000-7f3000001000 rw-p 00000000 00:00 0 ', 5, 5),
    mapping('7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0  [vdso]', 1, 0),
  ].join('');
  const kib = (kind: string, resident: number, proportional: number) => ({
    ...{ kind, residentBytes: resident * 1024, proportionalBytes: proportional * 1024 },
  });
  expect(parseSmaps(smaps, '/images/my base/rootfs.erofs')).toEqual([
    kib('guest RAM', 50, 49),
    kib('root image', 600, 200),
    kib('translated code', 70, 70),
    kib('QEMU, files', 4000, 400),
    kib('QEMU, own', 306, 305),
  ]);
});
