/**
 * The image's own boot steps: the programs in /etc/coracle/boot.d, which a recipe's `[[hooks]]` become. They run
 * before the link is opened, so the host sees no sandbox that they have not finished.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Reaper } from './reaper.ts';
import { failureOf } from './wait-failure.ts';

export const BOOT_HOOKS_FOLDER = '/etc/coracle/boot.d';

/** Names in byte order, the same in every locale; none where there is no folder, as in most images. */
export function bootHooks(folder = BOOT_HOOKS_FOLDER): string[] {
  try {
    return readdirSync(folder, 'buffer')
      .sort(Buffer.compare)
      .map((name) => name.toString());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** @throws Error such as `exited with 3`, or what posix_spawn said */
export async function runBootHook(
  name: string,
  reaper: Pick<Reaper, 'run'>,
  folder = BOOT_HOOKS_FOLDER,
): Promise<void> {
  const file = join(folder, name);
  const nothing = openSync('/dev/null', 'r');
  try {
    const status = await reaper.run({
      file,
      args: [file],
      env: { PATH: '/usr/bin' },
      cwd: '/',
      // 1 and 2 of pid 1 are the console.
      descriptors: { 0: nothing, 1: 1, 2: 2 },
    });
    const failure = failureOf(status);
    if (failure !== undefined) throw new Error(failure);
  } finally {
    closeSync(nothing);
  }
}
