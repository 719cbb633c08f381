/** `make shell`: an interactive shell in a Debian container in its own VM. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { coracle, debianRoot, writeBundle } from './bundle.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'coracle-shell-'));
// Ctrl-C belongs to the program in the container; we only have to stay until it ends.
process.on('SIGINT', () => undefined);
try {
  writeBundle(folder, debianRoot(), { args: ['bash'], terminal: true, hostname: 'coracle' });
  console.error('starting a VM; leave the shell with exit or Ctrl-D');
  const { status, error } = spawnSync(coracle, ['run', '--bundle', folder, `shell-${process.pid}`], {
    stdio: 'inherit',
  });
  if (error) throw error;
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
