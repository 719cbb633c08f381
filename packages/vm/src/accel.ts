/**
 * Which accelerator to use. That /dev/kvm opens proves little: under broken nested virtualisation it
 * opens, creates vCPUs, runs the firmware, and then hangs. So `auto` believes only a trial boot.
 */
import { accessSync, constants } from 'node:fs';
import { VmError } from './errors.ts';

export type Accel = 'kvm' | 'tcg';
export type AccelSetting = 'auto' | Accel;

export interface AccelDecision {
  readonly accel: Accel;
  /** Why, for people: one sentence without its full stop. */
  readonly reason: string;
  /** What would make KVM usable, where that is known. */
  readonly remedy?: string;
}

export type KvmDevice =
  | { readonly kind: 'usable' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'denied'; readonly detail: string };

/** The outcome of a trial boot with KVM. */
export interface KvmProbe {
  readonly boots: boolean;
  /** What was seen, as in `reached the initrd after 310 ms`. */
  readonly detail: string;
}

export function checkKvmDevice(path = '/dev/kvm'): KvmDevice {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { kind: 'usable' };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? { kind: 'missing' } : { kind: 'denied', detail: message };
  }
}

const missing = {
  reason: 'this host has no /dev/kvm',
  remedy:
    'KVM needs virtualisation switched on in the firmware (or nested, in a VM) and the module kvm_intel or kvm_amd.',
};
const denied = { remedy: 'Run as root, or add the user to the group kvm: usermod -aG kvm USER.' };

/**
 * @param probe only called for `auto` with a usable device
 * @throws VmError `kvm-unusable` when KVM is demanded and its device does not open
 */
export async function decideAccel(
  setting: AccelSetting,
  device: KvmDevice,
  probe: () => Promise<KvmProbe>,
): Promise<AccelDecision> {
  if (setting === 'tcg') return { accel: 'tcg', reason: 'emulation was asked for' };
  const obstacle =
    device.kind === 'missing'
      ? missing
      : device.kind === 'denied'
        ? { reason: `/dev/kvm does not open: ${device.detail}`, ...denied }
        : undefined;
  if (setting === 'kvm') {
    if (obstacle === undefined) return { accel: 'kvm', reason: 'KVM was asked for' };
    throw new VmError('kvm-unusable', `KVM was asked for, but ${obstacle.reason}`, {
      remedy: `${obstacle.remedy} Or use accel = "auto", which falls back to emulation.`,
    });
  }
  if (obstacle !== undefined) return { accel: 'tcg', ...obstacle };
  const { boots, detail } = await probe();
  if (boots) return { accel: 'kvm', reason: `a trial boot with KVM ${detail}` };
  return {
    accel: 'tcg',
    reason: `/dev/kvm opens, but a trial boot with KVM ${detail}`,
    remedy: 'Often this is nested virtualisation that does not work: ask whoever runs the outer host.',
  };
}
