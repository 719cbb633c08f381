/**
 * What the library needs of whatever starts virtual machines. The drivers of `@coracle/vm` fit; so does
 * anything else with this shape.
 */

export interface VmDriverLike {
  /** `local` means that the agent is a process of this host and sees the host's own paths. */
  readonly name: string;
  start(spec: SandboxVmSpec, options?: { readonly signal?: AbortSignal }): Promise<VmLike>;
}

export interface SandboxVmSpec {
  /** The sandbox's own folder, mode 0700. The VM's link is `link.sock` in it, or where `link.json` says. */
  readonly directory: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** Folder of the guest image. */
  readonly image: string;
  readonly shares: readonly ShareLike[];
}

/** Host folders and files that the guest sees under one tag. */
export interface ShareLike {
  readonly tag: string;
  readonly binds: readonly {
    /** Path below the share. */
    readonly name: string;
    /** Absolute path on the host. */
    readonly source: string;
    readonly readonly?: boolean;
  }[];
}

export interface VmLike {
  /** Of a VM that was started from one: the guest has yet to find its devices. */
  readonly template?: string | undefined;
  stop(options?: { readonly force?: boolean }): Promise<void>;
  /** Resolves when the VM is gone. */
  waitExit(options?: { readonly signal?: AbortSignal }): Promise<unknown>;
}

/** A file or folder inside a share. */
export interface SharePath {
  readonly share: string;
  readonly path: string;
}

/**
 * With the local driver nothing is mounted: the host path that a path in a share stands for. Elsewhere, and for
 * a share that is not among `shares`, the path itself.
 */
export function resolveSharePath(shares: readonly ShareLike[], { share, path }: SharePath): string {
  for (const { name, source } of shares.find(({ tag }) => tag === share)?.binds ?? []) {
    if (path === name) return source;
    if (path.startsWith(`${name}/`)) return source + path.slice(name.length);
  }
  return path;
}
