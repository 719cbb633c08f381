import { existsSync, statSync } from 'node:fs';
import { type AccelDecision, type AccelSetting, checkKvmDevice, decideAccel } from './accel.ts';
import { VmStartError } from './boot.ts';
import { type QemuLink, qemuArguments, type ShareTransport, SLOTS } from './command.ts';
import { vmPaths } from './directory.ts';
import type { Vm, VmDriver, VmSpec, VmStartOptions } from './driver.ts';
import { VmError } from './errors.ts';
import { findQemu, findVirtiofsd, type HostPrograms } from './host.ts';
import { openImage, type VmImage } from './image.ts';
import { checkImageFiles } from './image-check.ts';
import { adopt, type Launch, launch } from './launch.ts';
import { claim } from './pool/claim.ts';
import { type PoolOptions, VmPool } from './pool/pool.ts';
import { cacheDirectory, probeKvm } from './probe.ts';
import { readRecord } from './record.ts';
import { checkShare } from './share.ts';
import { checkHostMemory } from './size.ts';
import { type TemplateMachine, templateKey } from './template/key.ts';
import { type MakeOutcome, makeTemplate } from './template/make.ts';
import { templateMemory } from './template/restore.ts';
import { type Template, TemplateStore } from './template/store.ts';
import {
  chooseCid,
  decideTransport,
  hostVhostVsock,
  isCidTaken,
  type TransportSetting,
  type VhostVsock,
} from './transport.ts';
import { eraseVm } from './vm.ts';

export interface QemuDriverOptions extends HostPrograms {
  readonly accel?: AccelSetting;
  /** Where templates, the digests of files and the answer of the KVM trial are kept; see `cacheDirectory`. */
  readonly cacheDirectory?: string;
  readonly transport?: TransportSetting;
  /** `auto`, unless given: a VM is started from a template where there is one (docs/templates.md). None is made. */
  readonly template?: 'auto' | 'off';
  /** The folder of a pool, from which VMs are taken as long as it has some; see `openPool`. */
  readonly pool?: string;
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
  /**
   * Keeps such VMs waiting in a folder; makes their template first if there is none. Until it is disposed of.
   * @throws VmError, among others `already-started` when there is a pool in the folder; what `makeTemplate` throws
   */
  openPool(
    spec: TemplateSpec,
    pool: Pick<PoolOptions, 'directory' | 'size' | 'shares' | 'prepare' | 'onChange'>,
    options?: VmStartOptions,
  ): Promise<VmPool>;
}

export type TemplateSpec = Pick<VmSpec, 'image' | 'memoryBytes' | 'vcpus' | 'console' | 'kernelArguments'>;

export function createQemuDriver(options: QemuDriverOptions = {}): QemuDriver {
  const cache = options.cacheDirectory ?? cacheDirectory();
  const templates = new TemplateStore(cache);
  const usesTemplates = options.template !== 'off';
  const decide = (qemu: string, image: VmImage, { signal, onProgress }: VmStartOptions) =>
    decideAccel(options.accel ?? 'auto', checkKvmDevice(), () =>
      probeKvm({ qemu, image, signal, onProgress, cacheDirectory: cache }),
    );
  const machineOf = async (spec: TemplateSpec, start: VmStartOptions): Promise<TemplateMachine> => {
    const qemu = findQemu(options);
    const image = openImage(spec.image);
    await checkImageFiles(image, cache, start.signal);
    const { accel } = await decide(qemu, image, start);
    return { spec, image, qemu, accel };
  };
  return {
    name: 'qemu',
    async describe(image, start = {}) {
      const qemu = findQemu(options);
      return { qemu, ...(await decide(qemu, openImage(image), start)) };
    },
    async makeTemplate(spec, start = {}) {
      return await makeTemplate(await machineOf(spec, start), templates, start);
    },
    async openPool(spec, pool, start = {}) {
      const machine = await machineOf(spec, start);
      await makeTemplate(machine, templates, start);
      const virtiofsd = findVirtiofsd(options);
      const shares = virtiofsd === undefined ? [] : (pool.shares ?? []);
      const restore = async (directory: string, signal: AbortSignal) => {
        // It may have been pruned, or dropped with a fault.
        await makeTemplate(machine, templates, { signal });
        const template = await findTemplate(machine, templates);
        if (template === undefined)
          throw new VmError('start-failed', 'its template is made by another program; it is waited for');
        const empty = shares.map((tag) => ({ tag, binds: [] }));
        const plan = { ...machine, virtiofsd, shareTransport: 'virtiofs' } as const;
        // Without shares, too: they may be plugged in when it is taken, and the memory has to be shared then.
        return await restoreVm(
          { ...plan, spec: { ...spec, directory, shares: empty } },
          template,
          true,
          signal,
        );
      };
      return await VmPool.open({ ...pool, shares, start: restore });
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
      const { vhost = hostVhostVsock, transport: setting = 'auto', pool } = options;
      const transport = decideTransport(setting, image, vhost, usesTemplates);
      const { accel, reason } = await decide(qemu, image, start);
      start.onDecision?.(`accelerator ${accel}: ${reason}`);
      start.onDecision?.(`transport ${transport.transport}: ${transport.reason}`);
      const paths = vmPaths(spec.directory);
      checkFresh(spec.directory);
      const plan = { spec, image, accel, qemu, virtiofsd, shareTransport };
      if (usesTemplates && transport.transport === 'virtio-serial' && spec.shares.length <= SLOTS) {
        const vm =
          (await startFromPool(plan, pool, start)) ?? (await startFromTemplate(plan, templates, start));
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

/** Undefined when no VM of this kind waits in the pool. */
async function startFromPool(
  plan: Machine,
  pool: string | undefined,
  { signal, onDecision, onWarning }: VmStartOptions,
): Promise<Vm | undefined> {
  // QEMU has to be told of what it shares by itself when it starts.
  if (pool === undefined || (plan.shareTransport === '9p' && plan.spec.shares.length > 0)) return undefined;
  const { directory } = plan.spec;
  const key = templateKey(plan);
  const tags = plan.spec.shares.map(({ tag }) => tag);
  const claimed = claim(pool, key, tags, directory);
  if (claimed === undefined) return undefined;
  try {
    const vm = await adopt(plan, claimed, signal);
    onDecision?.(`a VM of the pool, from the template ${key}`);
    return vm;
  } catch (error) {
    await eraseVm(directory);
    if (signal?.aborted === true) throw signal.reason;
    if (error instanceof VmError && !(error instanceof VmStartError)) throw error;
    onWarning?.(`a VM of the pool is of no use; starting another: ${(error as Error).message}`);
    return undefined;
  }
}

/** @throws Error that says what is wrong with the one that there is */
async function findTemplate(
  machine: TemplateMachine,
  templates: TemplateStore,
): Promise<Template | undefined> {
  const template = templates.find(templateKey(machine));
  if (template !== undefined) await templates.verify(template);
  return template;
}

/** @param copied whether it gets a memory that others can write */
async function restoreVm(
  plan: Machine,
  template: Template,
  copied: boolean,
  signal: AbortSignal | undefined,
): Promise<Vm> {
  const link = { transport: 'virtio-serial' } as const;
  const memory = templateMemory(copied);
  const paths = vmPaths(plan.spec.directory);
  const args = [...qemuArguments({ ...plan, paths, link, memory, template: true }), '-incoming', 'defer'];
  return await launch({ ...plan, args, link, template, memory }, signal);
}

/** Undefined when there is no template, or none that works: the VM is to be booted then. */
async function startFromTemplate(
  plan: Machine,
  templates: TemplateStore,
  { signal, onDecision, onWarning, onTemplateMissing }: VmStartOptions,
): Promise<Vm | undefined> {
  const { spec, shareTransport } = plan;
  const key = templateKey(plan);
  try {
    const template = await findTemplate(plan, templates);
    if (template === undefined) {
      const failure = templates.failure(key);
      if (failure === undefined) onTemplateMissing?.();
      onDecision?.(`no template ${key}${failure === undefined ? '' : `: it could not be made: ${failure}`}`);
      return undefined;
    }
    const copied = spec.shares.length > 0 && shareTransport === 'virtiofs';
    const vm = await restoreVm(plan, template, copied, signal);
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

type Machine = Omit<Launch, 'args' | 'link'> & Pick<TemplateMachine, 'image'>;

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
