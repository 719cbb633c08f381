import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './run.ts';

/** A folder for as long as `use` takes; it goes however that ends. */
export async function withTemporaryFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'coracle-image-'));
  try {
    return await use(folder);
  } finally {
    await remove(folder);
  }
}

/** Plain users cannot empty a folder whose mode forbids them to write, as a guest's may. */
async function remove(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true });
  } catch {
    await run('chmod', ['-R', 'u+rwX', folder], { anyExitCode: true });
    await rm(folder, { recursive: true, force: true });
  }
}
