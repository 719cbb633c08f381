/** The contract of a driver: something that starts a virtual machine and can find it again. */
import type { Nics } from './nics.ts';
import type { ShareBind } from './share.ts';

export interface VmDriver {
  readonly name: 'qemu' | 'local';
  /**
   * Resolves when the VM runs (it has yet to boot: wait for the agent's hello on its link, and for
   * `waitExit` beside it). A start that fails or is aborted leaves no process and no socket behind.
   *
   * @throws VmError with a code; the signal's reason when aborted.
   */
  start(spec: VmSpec, options?: VmStartOptions): Promise<Vm>;
}

export interface VmStartOptions {
  readonly signal?: AbortSignal;
  /** Told about what takes long, such as the trial boot of KVM. */
  readonly onProgress?: (message: string) => void;
  /** Told what was decided and why: accelerator, transport, template. For logs. */
  readonly onDecision?: (message: string) => void;
  /** Told what went wrong and was made good, such as a template that was damaged. */
  readonly onWarning?: (message: string) => void;
  /** Told when there is no template for such a VM. Whether and when to make one is for the caller to say. */
  readonly onTemplateMissing?: () => void;
}

export interface VmSpec {
  /** The sandbox's own folder: absolute, exists, mode 0700. All files of the VM are in it. */
  readonly directory: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** Folder made by `coracle-image build`. The local driver does not look at it. */
  readonly image: string;
  readonly shares: readonly Share[];
  /** Folders of cgroups of this host, one for each hierarchy, in which the VM's processes are started. */
  readonly cgroups?: readonly string[];
  /** `verbose`: the kernel tells all it does on the console; half a second slower under emulation. */
  readonly console?: 'quiet' | 'verbose';
  /** Further words for the guest's kernel command line. */
  readonly kernelArguments?: readonly string[];
}

/** What of the host the guest sees under one virtiofs (or 9p) tag. */
export interface Share {
  /** The guest mounts it by this name: letters, digits, `-`, `_`, at most 31. */
  readonly tag: string;
  readonly binds: readonly ShareBind[];
}

export type VmStatus = 'starting' | 'running' | 'paused' | 'gone';

/**
 * How the VM's process ended. Only the process that started the VM can know code and signal (they are
 * a parent's right); any other learns that it is `gone`.
 */
export type VmExit =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'gone' };

export interface Vm {
  readonly driver: 'qemu' | 'local';
  readonly directory: string;
  /** The unix socket to the agent's virtio-serial port; not there with another transport. One connection at a time. */
  readonly linkPath: string;
  /** QEMU (or the local agent) first, then its helpers. */
  readonly pids: readonly number[];
  /** The key of the template that it was started from: its guest has yet to find the devices that were added. */
  readonly template: string | undefined;
  /** The accelerator in use; undefined without a VM. */
  readonly accel: 'kvm' | 'tcg' | undefined;
  status(): Promise<VmStatus>;
  /**
   * Ends the VM and all its helpers; the folder stays, with the console's log. Idempotent. `force`
   * kills at once; without it QEMU is asked to quit first. The guest is not asked in either case:
   * that is the agent's request DestroySandbox.
   */
  stop(options?: { readonly force?: boolean }): Promise<void>;
  /** Its network interfaces, which can be plugged and unplugged while it runs. Dispose of it: it holds QEMU's monitor. */
  nics(signal?: AbortSignal): Promise<Nics>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Resolves when the VM's process is gone, however it ended. May be called often and late. */
  waitExit(options?: { readonly signal?: AbortSignal }): Promise<VmExit>;
}
