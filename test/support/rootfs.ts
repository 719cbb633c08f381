/** A container's root file system: busybox and nothing else. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function makeRootfs(folder: string): void {
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'etc'])
    mkdirSync(join(folder, name), { recursive: true });
  copyFileSync('/bin/busybox', join(folder, 'bin/busybox'));
  for (const applet of execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n'))
    if (applet !== 'busybox') symlinkSync('busybox', join(folder, 'bin', applet));
  // For starts that must fail: it is there and is no program.
  writeFileSync(join(folder, 'bin/plain-file'), 'not a program\n', { mode: 0o644 });
}
