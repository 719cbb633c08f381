/** The processes of a VM: a virtiofsd for each share, and QEMU, which boots or goes on from a template. */
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { writeLinkRecord } from '@coracle/sys';
import { bootReport, VmStartError } from './boot.ts';
import { joinCgroups } from './cgroup-entry.ts';
import {
  type Plugged,
  pluggedBalloon,
  pluggedShares,
  type QemuLink,
  type ShareTransport,
} from './command.ts';
import { searchPath, spawnDetached } from './detached.ts';
import { checkSocketPath, vmPaths } from './directory.ts';
import type { Vm, VmSpec } from './driver.ts';
import { maxOpenFiles, takesTimeout } from './host.ts';
import { findOwned } from './identity.ts';
import { isListening } from './listening.ts';
import { unpackClaimed } from './pool/claim.ts';
import { Qmp } from './qmp.ts';
import { processStartTimeoutMs, waitReady } from './ready.ts';
import { type VmRecord, writeRecord } from './record.ts';
import { bindArguments, bindInto, inPrivateMounts, virtiofsdArguments } from './share.ts';
import { openTemplate, plug, resumeFromTemplate } from './template/restore.ts';
import type { Template } from './template/store.ts';
import { agentVsockPort } from './transport.ts';
import { vmFromRecord } from './vm.ts';

const execute = promisify(execFile);

export interface Launch {
  readonly spec: VmSpec;
  readonly accel: 'kvm' | 'tcg';
  readonly qemu: string;
  readonly args: readonly string[];
  readonly virtiofsd: string | undefined;
  readonly shareTransport: ShareTransport;
  readonly link: QemuLink;
  /** It is restored from there, with its memory mapped so. */
  readonly template?: Template;
  readonly memory?: { readonly share: boolean };
}

/** Starts all of it: virtiofsd for the shares, and QEMU. @throws VmError, the signal's reason */
export async function launch(plan: Launch, signal: AbortSignal | undefined): Promise<Vm> {
  const { spec, accel, link, template } = plan;
  const { directory, shares } = spec;
  const paths = vmPaths(directory);
  const notes = new Notes(directory, {
    version: 1,
    driver: 'qemu',
    state: 'starting',
    createdAt: new Date().toISOString(),
    accel,
    ...link,
    ...(template === undefined ? {} : { template: template.key }),
    image: spec.image,
    memoryBytes: spec.memoryBytes,
    vcpus: spec.vcpus,
    shares: shares.map((share) => share.tag),
    helpers: {},
  });
  const serving = startShares(plan, notes, signal);
  serving.catch(() => undefined);
  using opened = template && openTemplate(template, plan.memory?.share === true);
  if (template === undefined) await serving;
  const { file, args } = qemuCommand(plan);
  const main = await spawnDetached({
    file,
    args,
    logPath: paths.qemuLog,
    owner: directory,
    descriptors: opened?.descriptors ?? [],
    cgroups: spec.cgroups,
  });
  notes.add({ main: main.identity });
  if (link.transport === 'vsock') {
    const address = { kind: 'vsock', cid: link.cid, port: agentVsockPort } as const;
    writeLinkRecord(directory, { address, process: main.identity });
  }
  try {
    // They and QEMU come up beside this.
    opened?.load();
    const plugged = [
      ...pluggedShares({ spec, paths, shareTransport: plan.shareTransport }),
      ...(plan.memory?.share === true ? [pluggedBalloon] : []),
    ];
    const ready = () =>
      template === undefined ? answers(paths.qmp, signal) : resumes(paths.qmp, plugged, serving, signal);
    await waitReady(main, ready, 'QEMU', undefined, signal);
  } catch (error) {
    if (signal?.aborted === true) throw error;
    // Its own reason, should it be a virtiofsd that QEMU waited for.
    if (template !== undefined) await serving;
    throw new VmStartError('start-failed', (error as Error).message, bootReport(directory), error);
  }
  notes.add({ state: 'running' });
  return vmFromRecord(directory, notes.record, main.child);
}

/** Gives a VM that has waited in a pool what it lacks: the shares, or what is in them. @throws VmError, the signal's reason */
export async function adopt(
  plan: Pick<Launch, 'spec' | 'virtiofsd' | 'shareTransport'>,
  claimed: VmRecord,
  signal: AbortSignal | undefined,
): Promise<Vm> {
  const { spec, shareTransport } = plan;
  const paths = vmPaths(spec.directory);
  const shares = spec.shares.map(({ tag }) => tag);
  const notes = new Notes(spec.directory, { ...claimed, state: 'starting', image: spec.image, shares });
  unpackClaimed(spec.directory, claimed.shares);
  if (spec.cgroups !== undefined && spec.cgroups.length > 0)
    for (const { pid } of findOwned(claimed.startedIn!)) joinCgroups(pid, spec.cgroups);
  if (claimed.shares.length > 0) {
    await fillShares(spec, notes, signal);
    notes.add({ state: 'running' });
    return vmFromRecord(spec.directory, notes.record);
  }
  await startShares(plan, notes, signal);
  try {
    using qmp = await Qmp.connect(paths.qmp, { signal });
    await plug(qmp, pluggedShares({ spec, paths, shareTransport }));
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new VmStartError('start-failed', (error as Error).message, bootReport(spec.directory), error);
  }
  notes.add({ state: 'running' });
  return vmFromRecord(spec.directory, notes.record);
}

/** What is written down of a VM while it is started, step by step. */
class Notes {
  readonly #directory: string;
  record: VmRecord;

  constructor(directory: string, record: VmRecord) {
    this.#directory = directory;
    this.record = record;
    this.add({});
  }

  add(change: Partial<VmRecord>): void {
    this.record = { ...this.record, ...change };
    writeRecord(this.#directory, this.record);
  }
}

/** Of virtiofsds that run, and are plugged in. */
async function fillShares(
  { directory, shares }: VmSpec,
  { record }: Notes,
  signal: AbortSignal | undefined,
): Promise<void> {
  const paths = vmPaths(directory);
  await Promise.all(
    shares.map(async ({ tag, binds }) => {
      const { file, args } = bindInto(record.helpers[tag]!.pid, paths.share(tag), bindArguments(tag, binds));
      try {
        await execute(file, args, { env: { PATH: searchPath, LC_ALL: 'C' }, signal });
      } catch (error) {
        signal?.throwIfAborted();
        const { stderr, message } = error as { stderr?: string; message: string };
        const what = `the share ${tag} could not be filled: ${stderr?.trim() || message}`;
        throw new VmStartError('start-failed', what, bootReport(directory), error);
      }
    }),
  );
}

/** Resolves when every virtiofsd listens; with 9p there are none. */
async function startShares(
  { spec, virtiofsd, shareTransport }: Pick<Launch, 'spec' | 'virtiofsd' | 'shareTransport'>,
  notes: Notes,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { directory, shares } = spec;
  const paths = vmPaths(directory);
  for (const { tag } of shares) mkdirSync(paths.share(tag), { recursive: true, mode: 0o700 });
  if (shareTransport === '9p') return;
  await Promise.all(
    shares.map(async ({ tag, binds }) => {
      const socket = checkSocketPath(paths.fsSocket(tag));
      const source = paths.share(tag);
      const { file, args } = inPrivateMounts(source, bindArguments(tag, binds), [
        virtiofsd!,
        ...virtiofsdArguments(socket, source, {
          maxOpenFiles: maxOpenFiles(),
          takesTimeout: takesTimeout(virtiofsd!),
        }),
      ]);
      const logPath = paths.fsLog(tag);
      const daemon = await spawnDetached({ file, args, logPath, owner: directory, cgroups: spec.cgroups });
      notes.add({ helpers: { ...notes.record.helpers, [tag]: daemon.identity } });
      await waitReady(daemon, () => isListening(socket), `virtiofsd for the share ${tag}`, logPath, signal);
    }),
  );
}

/** With 9p it is QEMU itself that reads the shares, so it is QEMU that needs the private mounts. */
function qemuCommand({ spec, qemu, args, shareTransport }: Launch): {
  file: string;
  args: readonly string[];
} {
  let command: readonly string[] = [qemu, ...args];
  if (shareTransport === '9p') {
    const paths = vmPaths(spec.directory);
    for (const { tag, binds } of spec.shares) {
      const wrapped = inPrivateMounts(paths.share(tag), bindArguments(tag, binds), command);
      command = [wrapped.file, ...wrapped.args];
    }
  }
  return { file: command[0]!, args: command.slice(1) };
}

async function resumes(
  qmpPath: string,
  plugged: readonly Plugged[],
  serving: Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (!isListening(qmpPath)) return false;
  await resumeFromTemplate(qmpPath, plugged, serving, signal);
  return true;
}

/** QMP greets once QEMU's main loop runs, after everything that can fail at its start. */
async function answers(qmpPath: string, signal: AbortSignal | undefined): Promise<boolean> {
  if (!isListening(qmpPath)) return false;
  using qmp = await Qmp.connect(qmpPath, { signal, timeoutMs: processStartTimeoutMs });
  const status = await qmp.queryStatus();
  return status === 'running' || status === 'shutdown';
}
