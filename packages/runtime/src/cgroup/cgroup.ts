/**
 * The cgroup of a VM on the host: QEMU, virtiofsd and shims are started in it, at linux.cgroupsPath, which is where
 * engines look for what a container costs (`docker stats`: by /proc/PID/cgroup of its pid). Plain folders, without
 * systemd. `cgroup.json` in the sandbox's folder says where they are, and is written before the first is made.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError, errnoCode, messageOf } from '../cli/errors.ts';
import type { Log } from '../cli/log.ts';
import { type Hierarchy, hostHierarchies } from './hierarchies.ts';
import type { CgroupSetting } from './limits.ts';

/** One folder for each hierarchy. */
export interface HostCgroup {
  readonly folders: readonly CgroupFolder[];
}

interface CgroupFolder {
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
  readonly path: string;
}

const recordFile = 'cgroup.json';
const none: HostCgroup = { folders: [] };
/** Where paths that are ours to choose begin. */
const ownTree = '/coracle';

/**
 * Makes the folders; undone by removeCgroup, also after a crash.
 * @param directory the sandbox's folder
 * @param path absolute, below each hierarchy
 * @throws CliError naming the folder, such as one that is another container's; without root there is no cgroup then, and no error
 */
export function createCgroup(directory: string, path: string, log: Log): HostCgroup {
  const hierarchies = hostHierarchies();
  const folders = hierarchies.map((hierarchy) => ({
    version: hierarchy.version,
    controllers: hierarchy.controllers,
    path: join(hierarchy.mountPoint, path),
  }));
  const cgroup: HostCgroup = { folders };
  // Whoever removes this one would end what is in it.
  for (const { path: folder } of folders) {
    const [pid] = members(folder);
    if (pid === undefined) continue;
    throw new CliError(
      `cannot use the cgroup ${folder}: it is not empty (process ${pid}); give each container a linux.cgroupsPath of its own`,
    );
  }
  writeFileSync(join(directory, recordFile), `${JSON.stringify(cgroup)}\n`, { mode: 0o600 });
  try {
    folders.forEach((folder, i) => {
      makeFolder(hierarchies[i]!, folder.path);
    });
    return cgroup;
  } catch (cause) {
    if (process.geteuid?.() !== 0) {
      log.debug(`no cgroup for the virtual machine: ${messageOf(cause)}`);
      return none;
    }
    throw cause;
  }
}

function makeFolder(hierarchy: Hierarchy, path: string): void {
  for (let tried = 1; ; tried++) {
    try {
      for (const parent of ancestors(hierarchy.mountPoint, path)) makeOne(hierarchy, parent, true);
      makeOne(hierarchy, path, false);
      return;
    } catch (cause) {
      // The last container below a parent may have taken it away at this moment.
      if (errnoCode(cause) === 'ENOENT' && tried < makeRaces) continue;
      throw new CliError(`cannot make the cgroup ${path}: ${messageOf(cause)}`, { cause });
    }
  }
}

const makeRaces = 20;

function makeOne({ version, mountPoint }: Hierarchy, folder: string, isParent: boolean): void {
  if (folder !== mountPoint) makeDirectory(folder);
  if (version === 1) inheritCpuset(mountPoint, folder);
  else if (isParent) enableControllers(folder);
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (errnoCode(error) !== 'EEXIST') throw error;
  }
}

/** The folders above `path`, from the mount point on. */
function ancestors(mountPoint: string, path: string): string[] {
  const found: string[] = [];
  for (let at = dirname(path); at.length >= mountPoint.length; at = dirname(at)) {
    found.unshift(at);
    if (at === mountPoint) break;
  }
  return found;
}

/** A child has the controllers that its parent enables. One that cannot be is missed when a limit needs it. */
function enableControllers(folder: string): void {
  for (const controller of read(join(folder, 'cgroup.controllers')).trim().split(' ')) {
    try {
      if (controller !== '') writeFileSync(join(folder, 'cgroup.subtree_control'), `+${controller}`);
    } catch {}
  }
}

/** Version 1: a cpuset begins without CPUs and nodes, and takes no process then (cpusets.rst). */
function inheritCpuset(mountPoint: string, folder: string): void {
  if (folder === mountPoint) return;
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readOrNothing(join(folder, file))?.trim() !== '') continue;
    writeFileSync(join(folder, file), read(join(dirname(folder), file)));
  }
}

const read = (path: string): string => readFileSync(path, 'utf8');

function readOrNothing(path: string): string | undefined {
  try {
    return read(path);
  } catch {
    return undefined;
  }
}

/** That of a sandbox, from its folder. Empty when it has none. */
export function cgroupOf(directory: string): HostCgroup {
  const text = readOrNothing(join(directory, recordFile));
  return text === undefined ? none : (JSON.parse(text) as HostCgroup);
}

export const cgroupFolders = ({ folders }: HostCgroup): string[] => folders.map(({ path }) => path);

/** @throws CliError naming file and value */
export function writeSettings(
  { folders }: HostCgroup,
  settings: (version: 1 | 2) => readonly CgroupSetting[],
): void {
  for (const { version, controllers, path } of folders) {
    for (const { controller, file, value, optional = false } of settings(version)) {
      if (version === 1 && !controllers.includes(controller)) continue;
      try {
        writeFileSync(join(path, file), value, { flag: 'r+' });
      } catch (cause) {
        if (optional && errnoCode(cause) === 'ENOENT') continue;
        throw new CliError(
          `cannot set the limit ${file} of the virtual machine to ${value}, in ${path}: ${messageOf(cause)}`,
          { cause },
        );
      }
    }
  }
}

/** Shims of execs that are still at work end within this, or are ended. */
const graceMs = 500;
const deadlineMs = 5_000;

/**
 * Removes the folders, once the VM and its shims have ended; what is still in one is killed. Idempotent.
 * @throws CliError when something does not go away
 */
export async function removeCgroup(directory: string): Promise<void> {
  const began = performance.now();
  for (const { path } of cgroupOf(directory).folders) {
    while (!tryRemove(path)) {
      const ageMs = performance.now() - began;
      if (ageMs > deadlineMs) {
        throw new CliError(`cannot remove the cgroup ${path}: processes in it do not end: ${members(path)}`);
      }
      if (ageMs > graceMs) for (const pid of members(path)) kill(pid);
      await sleep(10);
    }
    // Ours alone, and gone with the last container in it. Others' may be empty still: they are not looked into.
    if (dirname(path).endsWith(ownTree)) removeEmpty(dirname(path));
  }
}

/** With what is below it. False while there are processes in it. */
function tryRemove(path: string): boolean {
  if (removeEmpty(path)) return true;
  // Whatever made folders in it had no business there.
  const inside = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { name } of inside) tryRemove(join(path, name));
  return false;
}

/** False while there are processes or folders in it. */
function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'EBUSY' || code === 'ENOTEMPTY') return false;
    if (code !== 'ENOENT')
      throw new CliError(`cannot remove the cgroup ${path}: ${messageOf(error)}`, { cause: error });
  }
  return true;
}

const members = (path: string): number[] =>
  (readOrNothing(join(path, 'cgroup.procs')) ?? '').split('\n').filter(Boolean).map(Number);

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoCode(error) !== 'ESRCH') throw error;
  }
}

/** Files by which a process leaves for the roots: whoever starts a daemon from inside a VM's cgroup. */
export function rootProcsFiles(): string[] {
  return hostHierarchies()
    .map(({ mountPoint }) => join(mountPoint, 'cgroup.procs'))
    .filter((path) => !/[\s\\]/.test(path));
}
