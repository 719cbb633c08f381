/**
 * Making a template: a VM of its own, without shares, is booted until its agent waits for a host, stopped, saved, and
 * ended. Nobody waits for it. Whoever kills the maker kills that VM too, and leaves a folder that the next maker removes.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { createMemoryFile, tryLockFile } from '@coracle/sys';
import { bootFailure, stageMarker } from '../boot.ts';
import { type Detached, spawnDetached } from '../detached.ts';
import { checkSocketPath, vmPaths } from '../directory.ts';
import { endProcesses } from '../identity.ts';
import { Qmp } from '../qmp.ts';
import { type TemplateMachine, templateArguments, templateKey } from './key.ts';
import { memoryDigest, saveMemory } from './memory.ts';
import { leaveMemoryOut, migrated } from './migration.ts';
import type { TemplateRecord, TemplateStore } from './store.ts';

export type MakeOutcome = 'made' | 'there already' | 'another one makes it';

export interface MakeOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: string) => void;
}

/** Of the guest's boot and its rehearsal; a busy host takes a while. */
const IDLE_TIMEOUT_MS = 180_000;
/** What the agent prints (packages/agent, template.ts). */
const IDLE = `${stageMarker}idle`;
const RECORD = 'template.json';
const FILES = [RECORD, 'ram', 'state'];

/**
 * @throws VmError `boot-failed`, `start-failed`; Error such as ENOSPC; the signal's reason. Nothing of it stays but the
 * reason, for whoever starts the next VM.
 */
export async function makeTemplate(
  machine: TemplateMachine,
  store: TemplateStore,
  { signal, onProgress = () => {} }: MakeOptions = {},
): Promise<MakeOutcome> {
  const key = templateKey(machine);
  store.prepare();
  using lock = tryLockFile(store.lockPath(key));
  if (lock === undefined) return 'another one makes it';
  if (existsSync(store.directory(key))) return 'there already';
  store.removeUnfinished();
  const directory = `${store.directory(key)}.new-${process.pid}`;
  try {
    mkdirSync(directory, { mode: 0o700 });
    const record = await saveMachine(machine, directory, onProgress, signal);
    writeFileSync(join(directory, RECORD), `${JSON.stringify(record)}\n`, { mode: 0o600 });
    for (const name of readdirSync(directory))
      if (!FILES.includes(name)) rmSync(join(directory, name), { recursive: true });
    store.publish(key, directory);
    store.prune();
    return 'made';
  } catch (error) {
    // First: on a disk that it has filled there is no room for the reason.
    rmSync(directory, { recursive: true, force: true });
    if (signal?.aborted !== true) store.noteFailure(key, (error as Error).message);
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function saveMachine(
  machine: TemplateMachine,
  directory: string,
  onProgress: (message: string) => void,
  signal: AbortSignal | undefined,
): Promise<TemplateRecord> {
  const { spec, image, qemu, accel } = machine;
  const paths = vmPaths(directory);
  const memory = createMemoryFile('coracle-template');
  let vm: Detached | undefined;
  try {
    onProgress('booting the machine that will be saved');
    vm = await spawnDetached({
      // It must not outlive us: nobody else would end it (PR_SET_PDEATHSIG, prctl(2)).
      file: 'setpriv',
      args: ['--pdeathsig', 'KILL', qemu, ...templateArguments(machine, directory, '/proc/self/fd/3')],
      logPath: paths.qemuLog,
      owner: directory,
      descriptors: [memory],
    });
    await untilIdle(vm, directory, signal);
    onProgress('saving it');
    const [ram, state] = [join(directory, 'ram'), join(directory, 'state')];
    await saveDevices(paths.qmp, join(directory, 'save.sock'), state);
    const extents = saveMemory(memory, spec.memoryBytes, ram);
    return {
      version: 1,
      createdAt: new Date().toISOString(),
      image: image.directory,
      qemu,
      accel,
      vcpus: spec.vcpus,
      memoryBytes: spec.memoryBytes,
      extents,
      ramSha256: memoryDigest(ram, extents),
      stateSha256: createHash('sha256').update(readFileSync(state)).digest('hex'),
    };
  } finally {
    if (vm !== undefined) await endProcesses([vm.identity], 0);
    closeSync(memory);
  }
}

async function untilIdle(
  { child }: Detached,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { console } = vmPaths(directory);
  const deadline = performance.now() + IDLE_TIMEOUT_MS;
  while (!existsSync(console) || !readFileSync(console, 'latin1').includes(IDLE)) {
    signal?.throwIfAborted();
    if (child.exitCode !== null || child.signalCode !== null)
      throw bootFailure(directory, 'the VM of a template ended while it booted');
    if (performance.now() > deadline)
      throw bootFailure(directory, `the VM of a template was not idle within ${IDLE_TIMEOUT_MS / 1000} s`);
    await delay(20);
  }
}

async function saveDevices(qmpPath: string, socketPath: string, path: string): Promise<void> {
  using qmp = await Qmp.connect(qmpPath);
  await qmp.stop();
  await leaveMemoryOut(qmp);
  const server = createServer();
  try {
    await listen(server, checkSocketPath(socketPath));
    const received = new Promise<void>((resolve, reject) => {
      server.once('connection', (socket) => {
        pipeline(socket, createWriteStream(path, { mode: 0o600, flush: true })).then(resolve, reject);
      });
    });
    received.catch(() => undefined);
    await qmp.execute('migrate', { uri: `unix:${socketPath}` });
    await migrated(qmp, 'save');
    await received;
  } finally {
    server.close();
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}
