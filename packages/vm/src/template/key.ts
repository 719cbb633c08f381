/**
 * What a template is good for: one machine, to the last option. A VM's saved state is restored by the same QEMU with the
 * same devices on the same kind of processor, or not at all; so all of that is in the key.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { Accel } from '../accel.ts';
import { qemuArguments } from '../command.ts';
import { vmPaths } from '../directory.ts';
import type { VmSpec } from '../driver.ts';
import { fileIdentity } from '../host.ts';
import type { VmImage } from '../image.ts';

/** Raised when what is saved, or what a guest expects of its host after a restore, changes. */
const FORMAT = 2;

export interface TemplateMachine {
  readonly spec: Pick<VmSpec, 'memoryBytes' | 'vcpus' | 'console' | 'kernelArguments'>;
  readonly image: VmImage;
  readonly qemu: string;
  readonly accel: Accel;
}

/** Names the template in the cache: 32 hexadecimal digits. */
export function templateKey(machine: TemplateMachine): string {
  const { image, qemu, accel } = machine;
  const facts = {
    format: FORMAT,
    qemu: fileIdentity(qemu),
    arguments: templateArguments(machine, '/', '/'),
    files: image.files.map(({ sha256 }) => sha256),
    // Emulated, the processor is QEMU's; otherwise it is this host's, and its kernel's.
    processor: accel === 'kvm' ? [release(), hostProcessor()] : [],
  };
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
}

/** The machine that is saved: no share, no network, a link that nobody has connected to. */
export function templateArguments(
  { spec, image, accel }: TemplateMachine,
  directory: string,
  memoryPath: string,
): string[] {
  return qemuArguments({
    spec: { ...spec, shares: [] },
    image,
    paths: vmPaths(directory),
    accel,
    shareTransport: 'virtiofs',
    link: { transport: 'virtio-serial' },
    memory: { path: memoryPath, share: true },
    template: true,
  });
}

/** Family, model, stepping, microcode and features of the first processor (proc(5)). */
function hostProcessor(): string {
  const [first = ''] = readFileSync('/proc/cpuinfo', 'latin1').split('\n\n');
  return first
    .split('\n')
    .filter((line) => /^(vendor_id|cpu family|model|stepping|microcode|flags)\b/.test(line))
    .join('\n');
}
