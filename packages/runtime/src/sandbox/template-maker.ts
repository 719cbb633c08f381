/** Makes a template behind our back: the container that had to do without it does not wait for it. */
import { spawn } from 'node:child_process';
import type { VmSize } from '@coracle/vm';
import type { Settings } from '../host/settings.ts';
import { environment } from './proxy.ts';

/** What goes wrong is written down beside the templates, where the next start finds it (packages/vm, store.ts). */
export function startTemplateMaker(settings: Settings, { memoryBytes, vcpus }: VmSize): void {
  const args = [
    ...[process.execPath, process.argv[1]!],
    ...['template', 'build', '--memory', String(memoryBytes / mebibyte), '--vcpus', String(vcpus)],
  ];
  const child = spawn('nice', ['-n', '19', ...args], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: { ...environment(), CORACLE_IMAGE: settings.image, CORACLE_ACCEL: settings.accel },
  });
  // Without nice(1) there is no template: VMs are booted then, as they were.
  child.on('error', () => {});
  child.unref();
}

const mebibyte = 1024 * 1024;
