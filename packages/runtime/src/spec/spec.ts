/** The parts of the OCI runtime specification (config.md, config-linux.md) that the host side looks at. */
import { absolutePath, boolean, integer, listOf, mapOf, natural, nonEmpty, object, string } from './shape.ts';

export interface ProcessSpec {
  terminal?: boolean;
  consoleSize?: { width: number; height: number };
  user?: { uid: number; gid: number; umask?: number; additionalGids?: number[] };
  args?: string[];
  env?: string[];
  cwd: string;
  capabilities?: Record<
    'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient',
    string[] | undefined
  >;
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  selinuxLabel?: string;
}

export interface MountSpec {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
}

/** config.md, "POSIX-platform Hooks". Go writes an absent list as null. */
export interface HookSpec {
  readonly path: string;
  /** The program's own name first. */
  readonly args?: readonly string[] | null;
  readonly env?: readonly string[] | null;
  /** Seconds. */
  readonly timeout?: number | null;
}

export type Hooks = {
  readonly [K in
    | 'prestart'
    | 'createRuntime'
    | 'createContainer'
    | 'startContainer'
    | 'poststart'
    | 'poststop']?: readonly HookSpec[] | null;
};

export interface Spec {
  readonly ociVersion: string;
  readonly process: ProcessSpec;
  readonly root: { readonly path: string; readonly readonly?: boolean };
  readonly hostname?: string;
  readonly mounts?: readonly MountSpec[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hooks?: Hooks | null;
  readonly linux?: {
    readonly cgroupsPath?: string;
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[];
    readonly resources?: Resources;
  };
}

/** `linux.resources`. */
export interface Resources {
  readonly memory?: {
    readonly limit?: number;
    readonly reservation?: number;
    readonly swap?: number;
    readonly checkBeforeUpdate?: boolean;
  };
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly burst?: number;
    readonly idle?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit?: number };
  readonly blockIO?: BlockIo;
}

/** Of the host's devices. */
export interface BlockIo {
  readonly weight?: number;
  readonly weightDevice?: readonly { major: number; minor: number; weight?: number }[];
  readonly throttleReadBpsDevice?: readonly Throttle[];
  readonly throttleWriteBpsDevice?: readonly Throttle[];
  readonly throttleReadIOPSDevice?: readonly Throttle[];
  readonly throttleWriteIOPSDevice?: readonly Throttle[];
}

export interface Throttle {
  readonly major: number;
  readonly minor: number;
  /** Bytes or operations in a second. */
  readonly rate: number;
}

const names = listOf(string);
const capabilities = object({
  bounding: names,
  effective: names,
  permitted: names,
  inheritable: names,
  ambient: names,
});
const rlimit = object({ type: nonEmpty, hard: natural, soft: natural }, ['type', 'hard', 'soft']);

/** The `process` object: of config.json, and of `exec --process FILE`. */
export const processShape = object(
  {
    terminal: boolean,
    consoleSize: object({ width: natural, height: natural }, ['width', 'height']),
    user: object({ uid: natural, gid: natural, umask: natural, additionalGids: listOf(natural) }),
    args: listOf(string, { min: 1 }),
    env: names,
    cwd: absolutePath,
    capabilities,
    rlimits: listOf(rlimit),
    noNewPrivileges: boolean,
    apparmorProfile: string,
    selinuxLabel: string,
    oomScoreAdj: integer,
  },
  ['args', 'cwd'],
);

const mount = object({ destination: nonEmpty, type: string, source: string, options: names }, [
  'destination',
]);
const hook = listOf(object({ path: absolutePath, args: names, env: names, timeout: integer }, ['path']));

const throttles = listOf(
  object({ major: integer, minor: integer, rate: natural }, ['major', 'minor', 'rate']),
);

/** The `resources` object: of config.json, and of `update --resources FILE`. */
export const resourcesShape = object({
  memory: object({ limit: integer, reservation: integer, swap: integer, checkBeforeUpdate: boolean }),
  cpu: object({
    shares: natural,
    quota: integer,
    period: natural,
    burst: natural,
    idle: integer,
    cpus: string,
    mems: string,
  }),
  pids: object({ limit: integer }),
  devices: listOf(object({ allow: boolean, type: string, access: string })),
  blockIO: object({
    weight: natural,
    weightDevice: listOf(object({ major: integer, minor: integer, weight: natural }, ['major', 'minor'])),
    throttleReadBpsDevice: throttles,
    throttleWriteBpsDevice: throttles,
    throttleReadIOPSDevice: throttles,
    throttleWriteIOPSDevice: throttles,
  }),
  unified: mapOf(string),
});

export const specShape = object(
  {
    ociVersion: nonEmpty,
    process: processShape,
    root: object({ path: nonEmpty, readonly: boolean }, ['path']),
    hostname: string,
    domainname: string,
    mounts: listOf(mount),
    annotations: mapOf(string),
    hooks: object({
      prestart: hook,
      createRuntime: hook,
      createContainer: hook,
      startContainer: hook,
      poststart: hook,
      poststop: hook,
    }),
    linux: object({
      namespaces: listOf(object({ type: nonEmpty, path: string }, ['type'])),
      uidMappings: listOf(object({ containerID: natural, hostID: natural, size: natural })),
      gidMappings: listOf(object({ containerID: natural, hostID: natural, size: natural })),
      devices: listOf(
        object({ path: absolutePath, type: nonEmpty, major: integer, minor: integer }, ['path', 'type']),
      ),
      cgroupsPath: string,
      sysctl: mapOf(string),
      resources: resourcesShape,
      seccomp: object({ defaultAction: nonEmpty, architectures: names, syscalls: listOf(object({ names })) }),
      maskedPaths: names,
      readonlyPaths: names,
      rootfsPropagation: string,
    }),
  },
  ['ociVersion', 'process', 'root'],
);
