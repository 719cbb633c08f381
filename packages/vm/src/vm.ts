import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { waitForExit } from '@coracle/sys';
import { vmPaths } from './directory.ts';
import type { Vm, VmExit, VmStatus } from './driver.ts';
import { VmError } from './errors.ts';
import { endProcesses, findOwned, isAlive, waitGone } from './identity.ts';
import { localContainers } from './local-containers.ts';
import { Nics } from './nics.ts';
import { claimedFolder } from './pool/claim.ts';
import { Qmp } from './qmp.ts';
import { readRecord, removeUnfinishedRecords, type VmRecord, writeRecord } from './record.ts';
import { agentVsockPort } from './transport.ts';

/** QEMU asked to quit needs milliseconds; one that is stuck is killed after this. */
const quitTimeoutMs = 2_000;
/** virtiofsd leaves by itself when QEMU has gone; the local agent has to end its processes. */
const helperGraceMs = 1_000;

/**
 * The VM of a folder, from its record: for a process other than the one that started it.
 * @throws VmError `not-started` when the folder has no record
 */
export function openVm(directory: string): Vm {
  const record = readRecord(directory);
  if (record === undefined) {
    throw new VmError('not-started', `${directory} has no VM: there is no vm.json in it`);
  }
  return vmFromRecord(directory, record);
}

/** `child` is given by the process that started the VM: only a parent learns the exit status. */
export function vmFromRecord(directory: string, record: VmRecord, child?: ChildProcess): Vm {
  const paths = vmPaths(directory);
  const { main, helpers, driver, accel, template } = record;
  const connect = async (what: string, signal?: AbortSignal): Promise<Qmp> => {
    if (driver !== 'qemu') throw new VmError('bad-spec', `the ${driver} driver has no VM to ${what}`);
    if (main === undefined || !isAlive(main)) {
      throw new VmError('not-started', `cannot ${what} the VM in ${directory}: it is not running`);
    }
    return await Qmp.connect(paths.qmp, { signal });
  };
  const needQmp = async <T>(what: string, use: (qmp: Qmp) => Promise<T>): Promise<T> => {
    using qmp = await connect(what);
    return await use(qmp);
  };
  return {
    driver,
    directory,
    linkPath: paths.link,
    pids: [main, ...Object.values(helpers)].flatMap((identity) =>
      identity === undefined ? [] : [identity.pid],
    ),
    accel,
    template,
    async status(): Promise<VmStatus> {
      if (main === undefined || !isAlive(main)) return 'gone';
      if (driver === 'local') return 'running';
      try {
        const status = await needQmp('query', (qmp) => qmp.queryStatus());
        if (status === 'running') return 'running';
        return status === 'paused' ? 'paused' : 'gone';
      } catch (error) {
        if (!isAlive(main)) return 'gone';
        if (readRecord(directory)?.state === 'starting') return 'starting';
        throw error;
      }
    },
    stop: ({ force = false } = {}) => stopVm(directory, force),
    nics: async (signal) => new Nics(await connect('change the networks of', signal)),
    pause: () => needQmp('pause', async (qmp) => void (await qmp.stop())),
    resume: () => needQmp('resume', async (qmp) => void (await qmp.cont())),
    async waitExit({ signal } = {}): Promise<VmExit> {
      signal?.throwIfAborted();
      if (main !== undefined && isAlive(main)) await waitForExit(main.pid, signal);
      if (child === undefined) return { kind: 'gone' };
      if (child.exitCode === null && child.signalCode === null) {
        // The event is next in the loop, but an unreferenced child does not keep the loop going.
        child.ref();
        await once(child, 'exit');
        child.unref();
      }
      if (child.signalCode !== null) return { kind: 'signalled', signal: child.signalCode };
      return { kind: 'exited', code: child.exitCode ?? 0 };
    },
  };
}

/**
 * Ends everything that was started for the VM in `directory` and removes its sockets. Idempotent, and
 * right after a crash at any step: what the record does not know is found by its environment.
 */
export async function stopVm(directory: string, force: boolean): Promise<void> {
  const paths = vmPaths(directory);
  const claimed = claimedFolder(directory);
  if (existsSync(claimed)) {
    await stopVm(claimed, true);
    rmSync(claimed, { recursive: true });
  }
  const record = readRecord(directory);
  const main = record?.main;
  if (!force && record?.driver === 'qemu' && main !== undefined && isAlive(main)) {
    await quit(paths.qmp);
    await waitGone(main, quitTimeoutMs);
  }
  const known = [...(main === undefined ? [] : [main]), ...Object.values(record?.helpers ?? {})];
  await endProcesses(known, force ? 0 : helperGraceMs);
  // One pass may find a process that is just about to start another (unshare, sh): look until none is left.
  for (const owner of [directory, ...(record?.startedIn === undefined ? [] : [record.startedIn])])
    for (let owned = findOwned(owner); owned.length > 0; owned = findOwned(owner))
      await endProcesses(owned, 0);
  if (record?.driver === 'local') await endProcesses(localContainers(directory), 0);
  removeRuntimeFiles(directory, record?.shares ?? []);
  removeUnfinishedRecords(directory);
  if (record !== undefined && record.state !== 'stopped')
    writeRecord(directory, { ...record, state: 'stopped' });
}

async function quit(qmpPath: string): Promise<void> {
  try {
    using qmp = await Qmp.connect(qmpPath, { timeoutMs: quitTimeoutMs });
    await qmp.quit();
  } catch {
    // Not listening yet, or stuck: signals follow.
  }
}

function removeRuntimeFiles(directory: string, tags: readonly string[]): void {
  const paths = vmPaths(directory);
  const sockets = [paths.link, paths.qmp, paths.hybrid, paths.hybridListen(agentVsockPort)];
  for (const path of [...sockets, paths.linkRecord, paths.pidFile, ...tags.map(paths.fsSocket)])
    rmSync(path, { force: true });
  for (const tag of tags) {
    try {
      // Only rmdir: should anything be mounted there after all, its files must survive.
      rmdirSync(paths.share(tag));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** Undoes a start that failed: as `stopVm` by force, and not even a log is left. */
export async function eraseVm(directory: string): Promise<void> {
  const tags = readRecord(directory)?.shares ?? [];
  await stopVm(directory, true);
  const paths = vmPaths(directory);
  const files = [paths.record, paths.console, paths.qemuLog, paths.agentLog, ...tags.map(paths.fsLog)];
  for (const path of files) rmSync(path, { force: true });
}
