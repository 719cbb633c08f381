/** Makes OCI bundles of a real Debian root file system, for the demo and the shell. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { cacheFolder } from './cache.ts';

const root = path.dirname(import.meta.dirname);
export const coracle = path.join(root, 'bin/coracle');

/** The unpacked Debian root, made once and then shared: containers of the demo mount it read-only. */
export function debianRoot(): string {
  const tar = execFileSync(path.join(root, 'scripts/debian-root'), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const folder = path.join(cacheFolder(), 'roots', path.basename(tar, '.tar'));
  if (!existsSync(folder)) {
    const fresh = `${folder}.new.${process.pid}`;
    mkdirSync(fresh, { recursive: true });
    // Device nodes can't be made without root, and every container gets its own /dev.
    execFileSync('tar', ['-xpf', tar, '-C', fresh, '--exclude=./dev/*'], { stdio: 'inherit' });
    try {
      renameSync(fresh, folder);
    } catch (error) {
      rmSync(fresh, { recursive: true, force: true });
      if (!existsSync(folder)) throw error;
    }
  }
  return folder;
}

export interface BundleOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly hostname?: string;
}

/** Writes a bundle into `folder`: `coracle spec`, with what is different. */
export function writeBundle(folder: string, rootfs: string, options: BundleOptions): void {
  mkdirSync(folder, { recursive: true });
  execFileSync(coracle, ['spec', '--bundle', folder]);
  const file = path.join(folder, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  config.process.args = options.args;
  config.process.terminal = options.terminal ?? false;
  config.root = { path: rootfs, readonly: true };
  if (options.hostname !== undefined) config.hostname = options.hostname;
  config.mounts.push({ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev'] });
  writeFileSync(file, JSON.stringify(config, null, 2));
}
