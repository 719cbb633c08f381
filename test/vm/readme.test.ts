/** The README's example, as it stands there, on a real VM: only the places are the test's own. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { waitForExit } from '@coracle/sys';
import { expect, test } from 'vitest';

const root = path.dirname(path.dirname(import.meta.dirname));

test('the example in the README does what its comments say', async () => {
  const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
  const example = /```ts\n(.*?)```/s.exec(readme)?.[1];
  expect(example).toBeDefined();
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-readme-'));
  // Beside the tests, whose package has the example's imports.
  const script = path.join(root, 'test', `readme-${process.pid}.ts`);
  try {
    const rootfs = path.join(folder, 'web', 'rootfs');
    for (const name of ['bin', 'dev', 'proc', 'sys']) mkdirSync(path.join(rootfs, name), { recursive: true });
    writeFileSync(path.join(rootfs, 'bin/busybox'), readFileSync('/bin/busybox'), { mode: 0o755 });
    symlinkSync('busybox', path.join(rootfs, 'bin/sh'));
    await promisify(execFile)(path.join(root, 'bin/coracle'), ['spec', '--bundle', path.dirname(rootfs)]);
    writeFileSync(
      script,
      (example as string)
        .replaceAll('/srv/', `${folder}/`)
        .replaceAll('/run/coracle', path.join(folder, 'run')),
    );
    const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: root });
    expect(stdout).toBe(
      "hello, world\n{ cause: 'exited', exitCode: 3, signal: null, code: 3, message: '' }\n",
    );
  } finally {
    rmSync(script, { force: true });
    await stopProxy(path.join(folder, 'run'));
    rmSync(folder, { recursive: true, force: true });
  }
});

/**
 * The proxy that the example started would leave by itself; the test does not wait for that, but until it is gone: rmSync
 * stops in silence where a file was removed before it.
 */
async function stopProxy(run: string): Promise<void> {
  const { stdout } = await promisify(execFile)('pgrep', ['-f', `coracle-proxy.js --socket ${run}/`]).catch(
    () => ({ stdout: '' }),
  );
  for (const pid of stdout.split('\n').filter(Boolean).map(Number)) {
    process.kill(pid, 'SIGTERM');
    await waitForExit(pid);
  }
}
