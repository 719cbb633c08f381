/**
 * Turns a container's config.json, written for the host, into the one that crun applies in the guest.
 * What the VM takes over is taken out (network, cgroup paths, host labels); the rest is passed on as it is.
 */
import { posix } from 'node:path';
import type { WindowSize } from '@coracle/sys';
import { RpcError } from '@coracle/wire';
import {
  asObject,
  asString,
  invalid,
  type JsonObject,
  optionalArray,
  optionalBoolean,
  optionalObject,
  parseObject,
  strings,
} from './check.ts';
import { guestResources } from './resources.ts';

export interface GuestConfigOptions {
  readonly config: Uint8Array;
  readonly containerId: string;
  readonly rootfs: string;
  /** Paths in the guest of bind mounts, by the index of the mount. */
  readonly bindSources: ReadonlyMap<number, string>;
  readonly size: WindowSize | undefined;
  readonly local: boolean;
}

export interface GuestConfig {
  readonly json: string;
  readonly terminal: boolean;
  /** argv[0], for error messages. */
  readonly command: string;
  /** Settings of the pod's network, which is the VM's: the agent applies them. */
  readonly netSysctls: ReadonlyMap<string, string>;
  /** Bind mounts whose source must exist in the guest itself. */
  readonly guestSources: readonly { readonly field: string; readonly path: string }[];
}

/** @throws RpcError invalid_argument naming the field */
export function guestConfig(options: GuestConfigOptions): GuestConfig {
  const config = parseObject(options.config, 'config.json');
  asString(config.ociVersion, 'ociVersion');
  const process = guestProcess(asObject(config.process, 'process'), 'process', options.size);
  const root = optionalObject(config.root, 'root') ?? {};
  config.root = { path: options.rootfs, readonly: optionalBoolean(root.readonly, 'root.readonly') };
  // The others are programs of the host: the runtime runs them.
  const startContainer = optionalArray(
    optionalObject(config.hooks, 'hooks')?.startContainer,
    'hooks.startContainer',
  );
  if (startContainer.length > 0) config.hooks = { startContainer };
  else delete config.hooks;
  const guestSources = replaceMounts(config, options);
  const linux = optionalObject(config.linux, 'linux') ?? {};
  config.linux = linux;
  replaceNamespaces(linux, options.local);
  const netSysctls = takeNetSysctls(linux);
  config.annotations = withoutOrders(config.annotations);
  takeTimeOffsets(linux);
  // cgroups: one tree of ours. The labels name policies of the host's kernel.
  linux.cgroupsPath = `/coracle/${options.containerId}`;
  delete linux.mountLabel;
  delete linux.intelRdt;
  // Not crun's own (crun-program.ts).
  if (!options.local) linux.personality ??= { domain: 'LINUX' };
  const resources = guestResources(linux.resources, 'linux.resources');
  if (options.local || resources === undefined) delete linux.resources;
  else linux.resources = resources;
  return {
    json: JSON.stringify(config),
    terminal: process.terminal === true,
    command: (process.args as string[])[0] as string,
    netSysctls,
    guestSources,
  };
}

/**
 * Checks a process object and makes it the guest's, in place.
 * @throws RpcError invalid_argument naming the field
 */
export function guestProcess(process: JsonObject, field: string, size: WindowSize | undefined): JsonObject {
  const args = strings(process.args, `${field}.args`);
  if (args.length === 0 || args[0] === '') throw invalid(`${field}.args`, 'must name a command');
  const cwd = asString(process.cwd, `${field}.cwd`);
  if (!posix.isAbsolute(cwd)) throw invalid(`${field}.cwd`, 'must be an absolute path');
  strings(process.env, `${field}.env`);
  process.terminal = optionalBoolean(process.terminal, `${field}.terminal`);
  if (process.terminal && size) process.consoleSize = { height: size.rows, width: size.columns };
  else if (!process.terminal) delete process.consoleSize;
  process.user = optionalObject(process.user, `${field}.user`) ?? { uid: 0, gid: 0 };
  delete process.apparmorProfile;
  delete process.selinuxLabel;
  return process;
}

function replaceMounts(config: JsonObject, options: GuestConfigOptions): GuestConfig['guestSources'] {
  const guestSources: { field: string; path: string }[] = [];
  const mounts = optionalArray(config.mounts, 'mounts').map((value, index) => {
    const field = `mounts[${index}]`;
    const mount = asObject(value, field);
    asString(mount.destination, `${field}.destination`);
    const flags = strings(mount.options, `${field}.options`);
    if (mount.type !== undefined) asString(mount.type, `${field}.type`);
    const bind = mount.type === 'bind' || flags.includes('bind') || flags.includes('rbind');
    const source = options.bindSources.get(index);
    if (source !== undefined) {
      if (!bind) throw invalid(field, 'has a bind source but is no bind mount');
      return { ...mount, source };
    }
    if (bind) guestSources.push({ field, path: asString(mount.source, `${field}.source`) });
    return mount;
  });
  for (const index of options.bindSources.keys()) {
    if (index >= mounts.length)
      throw invalid('bind_sources', `name mount ${index}, there are ${mounts.length}`);
  }
  // Without a cgroup of its own, a container of the local tier would be shown the host's.
  config.mounts = options.local ? mounts.filter((mount) => mount.type !== 'cgroup') : mounts;
  return guestSources;
}

/** The pod's network is the VM's. Namespaces of the host, given by path, are the VM's own too. */
function replaceNamespaces(linux: JsonObject, local: boolean): void {
  const kept: JsonObject[] = [];
  optionalArray(linux.namespaces, 'linux.namespaces').forEach((value, index) => {
    const field = `linux.namespaces[${index}]`;
    const namespace = asObject(value, field);
    const type = asString(namespace.type, `${field}.type`);
    const path = namespace.path === undefined ? '' : asString(namespace.path, `${field}.path`);
    // crun 1.8 fails at a time namespace, and without offsets nobody can tell one from another.
    if (type === 'network' || type === 'time' || (local && type === 'cgroup')) return;
    // A container without a mount namespace would change the guest's root.
    if (path === '' || type === 'mount') kept.push({ type });
  });
  const has = (type: string): boolean => kept.some((namespace) => namespace.type === type);
  if (!has('mount')) kept.push({ type: 'mount' });
  // Docker on a host with cgroup v1 asks for none: runc shows the container its own cgroup as /sys/fs/cgroup then, and
  // so does this. Without it programs look for their limits in the guest's root cgroup, which has none.
  if (!local && !has('cgroup')) kept.push({ type: 'cgroup' });
  linux.namespaces = kept;
}

/** @throws RpcError unimplemented for a clock that is to differ from the VM's */
function takeTimeOffsets(linux: JsonObject): void {
  for (const [clock, value] of Object.entries(optionalObject(linux.timeOffsets, 'linux.timeOffsets') ?? {})) {
    const { secs = 0, nanosecs = 0 } = asObject(value, `linux.timeOffsets.${clock}`);
    if (secs === 0 && nanosecs === 0) continue;
    throw new RpcError(
      'unimplemented',
      `linux.timeOffsets.${clock} cannot be applied: crun in the guest cannot`,
    );
  }
  delete linux.timeOffsets;
}

/** crun takes orders from annotations with this prefix, which are not the container's to give. */
const CRUN_ORDERS = 'run.oci.';

function withoutOrders(annotations: unknown): JsonObject {
  const given = Object.entries(optionalObject(annotations, 'annotations') ?? {});
  return Object.fromEntries(given.filter(([name]) => !name.startsWith(CRUN_ORDERS)));
}

function takeNetSysctls(linux: JsonObject): Map<string, string> {
  const taken = new Map<string, string>();
  const sysctl = optionalObject(linux.sysctl, 'linux.sysctl');
  for (const [name, value] of Object.entries(sysctl ?? {})) {
    if (!/^net[./]/.test(name)) continue;
    if (!/^[A-Za-z0-9_./-]+$/.test(name) || name.includes('..'))
      throw invalid('linux.sysctl', `has a strange name ${name}`);
    taken.set(name, asString(value, `linux.sysctl.${name}`));
    delete sysctl?.[name];
  }
  return taken;
}
