import { formatBytes } from '../commands/text.ts';
import type { BootReport } from './boot-image.ts';

/** On what it was measured, in a line. */
export function describeImage({ manifest, accel, vmMemoryBytes }: BootReport): string {
  const { kernel, root } = manifest;
  const origin = kernel.origin === 'built' ? 'our own' : "Debian's";
  const device = root.filesystem === 'initramfs' ? 'initramfs' : `${root.filesystem} on ${root.device}`;
  const how = accel === 'tcg' ? 'emulated (TCG)' : (accel ?? '').toUpperCase();
  return `kernel ${kernel.release} (${origin}), ${device}, ${formatBytes(vmMemoryBytes)}, ${how}`;
}
