/** What only shows when a VM is to be started, or a disk is full; test/local/runtime.test.ts has the rest. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkout, coracleProgram, type DriverName, type Ended, type Place, run } from './place.ts';

export function badInputSuite(place: () => Place, driver: DriverName): void {
  describe('bad input', () => {
    const expectRefused = async (ended: Ended, message: RegExp) => {
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toMatch(/^coracle: /m);
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toContain('    at ');
      await place().expectNothingLeft();
    };
    const runTrue = (env: Record<string, string> = {}, bundle = place().bundle(['true'])) =>
      place().coracle(['run', '--bundle', bundle, place().newId()], { env, deadlineMs: 180_000 });

    test.each(['run folder', 'state folder'] as const)('a full disk: the %s', async (which) => {
      const disk = join(place().folder, 'full');
      mkdirSync(disk);
      execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', disk]);
      try {
        fill(disk);
        const args = ['run', '--bundle', place().bundle(['true']), place().newId()];
        const env = { ...place().env, ...(which === 'run folder' ? { CORACLE_RUN: disk } : {}) };
        const root = which === 'run folder' ? place().root : disk;
        const ended = await run(coracleProgram, ['--root', root, ...args], { env });
        expect(ended).toMatchObject({ code: 1, stdout: '' });
        expect(ended.stderr).toMatch(/^coracle: .*(no space left|ENOSPC)/im);
        expect(
          readdirSync(disk).filter((name) => name !== 'ballast' && !/^(sandboxes|proxy\.sock.*)$/.test(name)),
        ).toEqual([]);
      } finally {
        await place().killProxy();
        execFileSync('/bin/umount', [disk]);
        execFileSync('/bin/rmdir', [disk]);
      }
      await place().expectNothingLeft();
    });

    // The rest is of QEMU and the image, which the local driver has not.
    if (driver === 'local') return;

    test('QEMU missing', async () => {
      // Where the file is a device, nobody finds a program; in a mount namespace of its own.
      const script = 'mount --bind /dev/null "$1"; shift; exec "$@"';
      const qemu = execFileSync('/bin/sh', ['-c', 'command -v qemu-system-x86_64'], {
        encoding: 'utf8',
      }).trim();
      const command = [
        coracleProgram,
        ...place().arguments(['run', '--bundle', place().bundle(['true']), place().newId()]),
      ];
      const ended = await run('/usr/bin/unshare', ['-m', 'sh', '-ec', script, 'sh', qemu, ...command], {
        env: place().env,
      });
      await expectRefused(ended, /QEMU is not there[\s\S]*apt-get install qemu/);
    });

    test('an image that is missing, incomplete or cut off', async () => {
      const image = process.env.CORACLE_IMAGE ?? join(checkout, 'out/image');
      await expectRefused(
        await runTrue({ CORACLE_IMAGE: '/nonexistent' }),
        /\/nonexistent.*manifest[\s\S]*make image/,
      );

      const broken = join(place().folder, 'image');
      mkdirSync(broken);
      for (const name of readdirSync(image)) symlinkSync(join(image, name), join(broken, name));
      for (const name of bootFiles(image)) {
        unlinkSync(join(broken, name));
        await expectRefused(
          await runTrue({ CORACLE_IMAGE: broken }),
          new RegExp(`no readable ${name}.*make image`, 's'),
        );
        cpSync(join(image, name), join(broken, name));
        truncateSync(join(broken, name), Math.floor(statSync(join(image, name)).size / 2));
        await expectRefused(
          await runTrue({ CORACLE_IMAGE: broken }),
          new RegExp(`${name} has \\d+ bytes and should have \\d+.*make image`, 's'),
        );
        cpSync(join(image, name), join(broken, name));
        flipByte(join(broken, name), Math.floor(statSync(join(image, name)).size / 2));
        await expectRefused(
          await runTrue({ CORACLE_IMAGE: broken }),
          new RegExp(`${name} has SHA-256 [0-9a-f]{64} and should have [0-9a-f]{64}.*make image`, 's'),
        );
        unlinkSync(join(broken, name));
        symlinkSync(join(image, name), join(broken, name));
      }
    });

    test('more memory than there is', async () => {
      const bundle = place().bundle(['true'], (config) => {
        config.linux.resources = { memory: { limit: 2 ** 45 } };
      });
      await expectRefused(await runTrue({}, bundle), /memory/);
    });

    test('KVM that is wanted and boots nothing', async () => {
      const ended = await runTrue({ CORACLE_ACCEL: 'kvm' });
      // On a machine whose KVM works there is nothing to refuse.
      if (ended.code === 0) return place().expectNothingLeft();
      await expectRefused(ended, /kvm/i);
    });
  });
}

/** What of an image a boot reads. */
function bootFiles(image: string): string[] {
  const { kernel, initrd, root } = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8'));
  return [...new Set<string>([kernel.file, ...(initrd === null ? [] : [initrd]), root.file])];
}

function flipByte(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(position) ^ 1, position);
  writeFileSync(path, bytes);
}

/** Until not one byte fits. */
function fill(folder: string): void {
  for (let size = 64 * 1024; size > 0; size >>= 1) {
    try {
      writeFileSync(join(folder, 'ballast'), Buffer.alloc(size), { flag: 'a' });
    } catch {
      // A smaller piece may fit.
    }
  }
}
