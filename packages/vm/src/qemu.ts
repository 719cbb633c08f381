import { existsSync, mkdirSync, statSync } from 'node:fs';
import { writeLinkRecord } from '@coracle/sys';
import { type AccelDecision, type AccelSetting, checkKvmDevice, decideAccel } from './accel.ts';
import { bootReport, VmStartError } from './boot.ts';
import {
  type Plugged,
  pluggedShares,
  type QemuLink,
  qemuArguments,
  type ShareTransport,
  SLOTS,
} from './command.ts';
import { spawnDetached } from './detached.ts';
import { checkSocketPath, vmPaths } from './directory.ts';
import type { Share, Vm, VmDriver, VmSpec, VmStartOptions } from './driver.ts';
import { VmError } from './errors.ts';
import { findQemu, findVirtiofsd, type HostPrograms, maxOpenFiles, takesTimeout } from './host.ts';
import { openImage, type VmImage } from './image.ts';
import { checkImageFiles } from './image-check.ts';
import { isListening } from './listening.ts';
import { cacheDirectory, probeKvm } from './probe.ts';
import { Qmp } from './qmp.ts';
import { processStartTimeoutMs, waitReady } from './ready.ts';
import { readRecord, type VmRecord, writeRecord } from './record.ts';
import { bindArguments, checkShare, inPrivateMounts, virtiofsdArguments } from './share.ts';
import { checkHostMemory } from './size.ts';
import { templateKey } from './template/key.ts';
import { type MakeOutcome, makeTemplate } from './template/make.ts';
import { openTemplate, resumeFromTemplate, templateMemory } from './template/restore.ts';
import { type Template, TemplateStore } from './template/store.ts';
import {
  agentVsockPort,
  chooseCid,
  decideTransport,
  hostVhostVsock,
  isCidTaken,
  type TransportSetting,
  type VhostVsock,
} from './transport.ts';
import { eraseVm, vmFromRecord } from './vm.ts';

export interface QemuDriverOptions extends HostPrograms {
  readonly accel?: AccelSetting;
  /** Where templates, the digests of files and the answer of the KVM trial are kept; see `cacheDirectory`. */
  readonly cacheDirectory?: string;
  readonly transport?: TransportSetting;
  /** `auto`: a VM is started from a template where there is one (docs/templates.md); `off` unless given. */
  readonly template?: 'auto' | 'off';
  /** This host's, unless given. */
  readonly vhost?: VhostVsock;
}

export interface QemuDriver extends VmDriver {
  readonly name: 'qemu';
  /** The accelerator that VMs of this image get and why; makes the trial boot if it was not made yet. */
  describe(image: string, options?: VmStartOptions): Promise<AccelDecision & { readonly qemu: string }>;
  /**
   * Makes the template for such VMs, if there is none: a boot and some seconds.
   * @throws VmError, among others `boot-failed`; Error such as ENOSPC
   */
  makeTemplate(spec: TemplateSpec, options?: VmStartOptions): Promise<MakeOutcome>;
}

export type TemplateSpec = Pick<VmSpec, 'image' | 'memoryBytes' | 'vcpus' | 'console' | 'kernelArguments'>;

export function createQemuDriver(options: QemuDriverOptions = {}): QemuDriver {
  const cache = options.cacheDirectory ?? cacheDirectory();
  const templates = new TemplateStore(cache);
  const usesTemplates = options.template === 'auto';
  const decide = (qemu: string, image: VmImage, { signal, onProgress }: VmStartOptions) =>
    decideAccel(options.accel ?? 'auto', checkKvmDevice(), () =>
      probeKvm({ qemu, image, signal, onProgress, cacheDirectory: cache }),
    );
  return {
    name: 'qemu',
    async describe(image, start = {}) {
      const qemu = findQemu(options);
      return { qemu, ...(await decide(qemu, openImage(image), start)) };
    },
    async makeTemplate(spec, start = {}) {
      const qemu = findQemu(options);
      const image = openImage(spec.image);
      await checkImageFiles(image, cache, start.signal);
      const { accel } = await decide(qemu, image, start);
      return await makeTemplate({ spec, image, qemu, accel }, templates, start);
    },
    async start(spec, start = {}) {
      start.signal?.throwIfAborted();
      const qemu = findQemu(options);
      const image = openImage(spec.image);
      for (const { tag, binds } of spec.shares) checkShare(tag, binds);
      checkHostMemory(spec.memoryBytes);
      await checkImageFiles(image, cache, start.signal);
      const virtiofsd = findVirtiofsd(options);
      const shareTransport = chooseShareTransport(virtiofsd, image, spec);
      const { vhost = hostVhostVsock, transport: setting = 'auto' } = options;
      const transport = decideTransport(setting, image, vhost, usesTemplates);
      const { accel, reason } = await decide(qemu, image, start);
      start.onDecision?.(`accelerator ${accel}: ${reason}`);
      start.onDecision?.(`transport ${transport.transport}: ${transport.reason}`);
      const paths = vmPaths(spec.directory);
      checkFresh(spec.directory);
      const plan = { spec, accel, qemu, virtiofsd, shareTransport };
      if (usesTemplates && transport.transport === 'virtio-serial' && spec.shares.length <= SLOTS) {
        const vm = await startFromTemplate(plan, image, templates, start);
        if (vm !== undefined) return vm;
      }
      for (let tried = 1; ; tried++) {
        const link: QemuLink =
          transport.transport === 'vsock'
            ? { transport: 'vsock', cid: chooseCid(vhost) }
            : { transport: 'virtio-serial' };
        const args = qemuArguments({ spec, image, paths, accel, shareTransport, link });
        try {
          return await launch({ ...plan, args, link }, start.signal);
        } catch (error) {
          await eraseVm(spec.directory);
          if (start.signal?.aborted === true) throw start.signal.reason;
          if (tried === cidRaces || !(error instanceof VmStartError && isCidTaken(error.message)))
            throw error;
        }
      }
    },
  };
}

/** Undefined when there is no template, or none that works: the VM is to be booted then. */
async function startFromTemplate(
  plan: Omit<Launch, 'args' | 'link'>,
  image: VmImage,
  templates: TemplateStore,
  { signal, onDecision, onWarning, onTemplateMissing }: VmStartOptions,
): Promise<Vm | undefined> {
  const { spec, qemu, accel, shareTransport } = plan;
  const key = templateKey({ spec, image, qemu, accel });
  const link = { transport: 'virtio-serial' } as const;
  try {
    const template = templates.find(key);
    if (template === undefined) {
      const failure = templates.failure(key);
      if (failure === undefined) onTemplateMissing?.();
      onDecision?.(`no template ${key}${failure === undefined ? '' : `: it could not be made: ${failure}`}`);
      return undefined;
    }
    await templates.verify(template);
    const memory = templateMemory(spec.shares.length === 0 ? 'none' : shareTransport);
    const paths = vmPaths(spec.directory);
    const args = qemuArguments({ spec, image, paths, accel, shareTransport, link, memory, template: true });
    const vm = await launch(
      { ...plan, args: [...args, '-incoming', 'defer'], link, template, memory },
      signal,
    );
    templates.noteUse(template);
    onDecision?.(`template ${key}`);
    return vm;
  } catch (error) {
    await eraseVm(spec.directory);
    if (signal?.aborted === true) throw signal.reason;
    // A share's fault, say, and not QEMU's: a boot would come no further.
    if (error instanceof VmError && !(error instanceof VmStartError)) throw error;
    onWarning?.(
      `the template ${key} is of no use and was removed; booting instead: ${(error as Error).message}`,
    );
    templates.drop(key);
    onTemplateMissing?.();
    return undefined;
  }
}

/** How often another VM may snatch the CID between our choice and QEMU's start. */
const cidRaces = 3;

function chooseShareTransport(virtiofsd: string | undefined, image: VmImage, spec: VmSpec): ShareTransport {
  if (virtiofsd !== undefined || spec.shares.length === 0) return 'virtiofs';
  if (image.has9p) return '9p';
  throw new VmError(
    'virtiofsd-missing',
    'virtiofsd is not there, and the guest kernel of this image has no 9p',
    {
      remedy:
        'Install it: apt-get install qemu-system-common (Debian 12) or virtiofsd (Debian 13, Ubuntu, Fedora).',
    },
  );
}

/** @throws VmError `bad-spec`, `already-started` */
function checkFresh(directory: string): void {
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    throw new VmError('bad-spec', `the VM's folder ${directory} does not exist`);
  }
  const record = readRecord(directory);
  if (record !== undefined && record.state !== 'stopped') {
    throw new VmError('already-started', `${directory} has a VM already (state ${record.state})`, {
      remedy: 'Stop that one first.',
    });
  }
}

interface Launch {
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

async function launch(plan: Launch, signal: AbortSignal | undefined): Promise<Vm> {
  const { spec, accel, link, template } = plan;
  const { directory, shares } = spec;
  const paths = vmPaths(directory);
  let record: VmRecord = {
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
  };
  const note = (change: Partial<VmRecord>) => {
    record = { ...record, ...change };
    writeRecord(directory, record);
  };
  note({});
  for (const { tag } of shares) mkdirSync(paths.share(tag), { recursive: true, mode: 0o700 });
  const daemons = plan.shareTransport === 'virtiofs' ? shares.map(startVirtiofsd) : [];
  const serving = Promise.all(daemons);
  serving.catch(() => undefined);
  // While they come up the memory is copied, and QEMU restores: it connects to them when that is done.
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
  note({ main: main.identity });
  if (link.transport === 'vsock') {
    const address = { kind: 'vsock', cid: link.cid, port: agentVsockPort } as const;
    writeLinkRecord(directory, { address, process: main.identity });
  }
  try {
    const plugged = pluggedShares({ spec, paths, shareTransport: plan.shareTransport });
    const ready = () =>
      template === undefined ? answers(paths.qmp, signal) : resumes(paths.qmp, plugged, serving, signal);
    await waitReady(main, ready, 'QEMU', undefined, signal);
  } catch (error) {
    if (signal?.aborted === true) throw error;
    // Its own reason, should it be a virtiofsd that QEMU waited for.
    if (template !== undefined) await serving;
    throw new VmStartError('start-failed', (error as Error).message, bootReport(directory), error);
  }
  note({ state: 'running' });
  return vmFromRecord(directory, record, main.child);

  /** Resolves when it listens. */
  async function startVirtiofsd({ tag, binds }: Share): Promise<void> {
    const socket = checkSocketPath(paths.fsSocket(tag));
    const source = paths.share(tag);
    const { file, args } = inPrivateMounts(source, bindArguments(tag, binds), [
      plan.virtiofsd!,
      ...virtiofsdArguments(socket, source, {
        maxOpenFiles: maxOpenFiles(),
        takesTimeout: takesTimeout(plan.virtiofsd!),
      }),
    ]);
    const logPath = paths.fsLog(tag);
    const daemon = await spawnDetached({ file, args, logPath, owner: directory, cgroups: spec.cgroups });
    note({ helpers: { ...record.helpers, [tag]: daemon.identity } });
    await waitReady(daemon, () => isListening(socket), `virtiofsd for the share ${tag}`, logPath, signal);
  }
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
