/**
 * A container's sandbox: the virtual machine, its folder below `<run>/sandboxes`, and its agent.
 *
 * The folder holds `owner.json` before anything is started for it, so that what a crash leaves can be told
 * from what is in use (gc.ts).
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sandbox, VmDriverLike } from '@coracle/client';
import type { BootReport, Share, Vm, VmSize } from '@coracle/vm';
import {
  cgroupFolders,
  createCgroup,
  type HostCgroup,
  removeCgroup,
  writeSettings,
} from '../cgroup/cgroup.ts';
import { hostSettings, type VmCost, vmSettings } from '../cgroup/limits.ts';
import { hostCgroupPath } from '../cgroup/path.ts';
import { CliError, ExitCode } from '../cli/errors.ts';
import type { Log } from '../cli/log.ts';
import type { Progress } from '../cli/progress.ts';
import type { Settings } from '../host/settings.ts';
import type { Bundle } from '../spec/bundle.ts';
import { explain, isRpcError } from './agent.ts';
import { createDriver } from './driver.ts';
import { type ProxyPlace, startProxy } from './proxy.ts';

export interface Owner {
  readonly root: string;
  readonly id: string;
}

export const ownerFile = 'owner.json';
/** The name under which the guest mounts what it sees of the host. */
export const shareTag = 'containers';

export interface SandboxPlan {
  readonly sandboxId: string;
  readonly directory: string;
  readonly owner: Owner;
  readonly bundle: Bundle;
  readonly proxy: ProxyPlace;
  readonly settings: Settings;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly log: Log;
  /** There was no template for this VM. */
  readonly onTemplateMissing: (size: VmSize) => void;
  /** linux.cgroupsPath is a unit of systemd. */
  readonly systemdCgroup: boolean;
}

/**
 * Ends the VM and all that belongs to it, at once, and removes its cgroup and its folder. Idempotent.
 * @param afterVm ends what outlives the VM and is in its cgroup
 */
export async function removeSandbox(directory: string, afterVm = async () => {}): Promise<void> {
  const { stopVm } = await import('@coracle/vm');
  await stopVm(directory, true);
  await afterVm();
  await removeCgroup(directory);
  rmSync(directory, { recursive: true, force: true });
}

/**
 * Starts the VM and the proxy, and waits until the agent answers. When it fails nothing stays.
 * @throws VmError with the console of a guest that did not come up, CliError, or the signal's reason
 */
export async function startSandbox(plan: SandboxPlan): Promise<Sandbox> {
  try {
    return await startOnce(plan);
  } catch (error) {
    // What was restored does not answer: whatever that template has, the next VM does not get it.
    if (!(error instanceof TemplateBroken) || plan.settings.template === 'off') throw error;
    plan.log.warning(`${error.message}; booting instead`);
    return await startOnce({ ...plan, settings: { ...plan.settings, template: 'off' } });
  }
}

/** A VM was started from a template, and its agent did not answer. */
class TemplateBroken extends CliError {}

async function startOnce(plan: SandboxPlan): Promise<Sandbox> {
  const { bundle, directory, settings, progress, proxy } = plan;
  const [{ Coracle }, { sizeVm, VmStartError }, driver] = await Promise.all([
    import('@coracle/client'),
    import('@coracle/vm'),
    createDriver(settings),
  ]);
  const { memory, cpu } = bundle.spec.linux?.resources ?? {};
  const size = sizeVm({ memoryLimitBytes: memory?.limit, cpuQuota: cpu?.quota, cpuPeriod: cpu?.period });
  // What an earlier crash left under this name; the id is ours now.
  await removeSandbox(directory);

  // The two start beside each other, and neither goes on behind our back when the other has failed.
  const stop = new AbortController();
  const signal = AbortSignal.any([plan.signal, stop.signal]);
  const proxyStart = startProxy(proxy);
  proxyStart.catch((error) => stop.abort(error));
  const late = setTimeout(() => stop.abort(new LateBoot(settings.bootTimeoutMs)), settings.bootTimeoutMs);
  let report: BootReport | undefined;
  let template: string | undefined;
  const coracle = new Coracle({
    proxy: proxy.socketPath,
    sandboxes: proxy.sandboxes,
    startProxy: () => proxyStart.then(() => startProxy(proxy)),
  });
  try {
    return await coracle.startSandbox({
      vm: watched(plan, driver, {
        onTemplateMissing: () => plan.onTemplateMissing(size),
        onStart: (vm) => {
          template = vm.template;
        },
        onEnd: (seen) => {
          report ??= seen;
        },
      }),
      id: plan.sandboxId,
      image: settings.image,
      ...size,
      shares: sharesOf(bundle),
      shareType: await shareType(settings),
      hostname: bundle.spec.hostname ?? '',
      signal,
    });
  } catch (error) {
    plan.signal.throwIfAborted();
    if (stop.signal.aborted && !(stop.signal.reason instanceof LateBoot)) throw stop.signal.reason;
    if (report === undefined || !(isRpcError(error) || stop.signal.aborted)) throw error;
    const what =
      stop.signal.reason instanceof LateBoot ? stop.signal.reason.message : explain(error, bootFailed);
    if (settings.driver === 'local') throw new CliError(what, { cause: error });
    if (template !== undefined) {
      const { TemplateStore, cacheDirectory } = await import('@coracle/vm');
      const templates = new TemplateStore(cacheDirectory());
      templates.drop(template);
      templates.noteFailure(template, what);
      throw new TemplateBroken(`a VM from the template ${template} failed, which was removed: ${what}`);
    }
    throw new VmStartError('boot-failed', what, report, error);
  } finally {
    clearTimeout(late);
    await proxyStart.catch(() => undefined);
    progress.update('creating the container');
  }
}

const bootFailed = 'the virtual machine did not come up';

class LateBoot extends CliError {
  constructor(timeoutMs: number) {
    super(`the guest's agent did not answer within ${timeoutMs / 1000} s`, { exitCode: ExitCode.failed });
  }
}

interface Watcher {
  onTemplateMissing(): void;
  onStart(vm: Vm): void;
  onEnd(report: BootReport): void;
}

/** The driver, with the owner written down before and the console read before the VM is ended. */
function watched(
  plan: SandboxPlan,
  driver: Awaited<ReturnType<typeof createDriver>>,
  { onTemplateMissing, onStart, onEnd }: Watcher,
): VmDriverLike {
  const { owner, progress, log } = plan;
  return {
    name: driver.name,
    async start({ directory, shares, ...spec }, { signal } = {}) {
      writeFileSync(join(directory, ownerFile), `${JSON.stringify(owner)}\n`, { mode: 0o600 });
      // Without a VM there is nothing to count: containers are then processes of whoever started them.
      const cgroup = driver.name === 'qemu' ? makeCgroup(plan, directory) : undefined;
      const vm: Vm = await driver.start(
        { directory, shares, ...spec, ...(cgroup === undefined ? {} : { cgroups: cgroupFolders(cgroup) }) },
        {
          ...(signal === undefined ? {} : { signal }),
          onProgress: (message) => progress.update(message),
          onDecision: (message) => log.debug(message),
          onWarning: (message) => log.warning(message),
          onTemplateMissing,
        },
      );
      if (cgroup !== undefined) boundVm(cgroup, plan, { ...spec, accel: vm.accel });
      onStart(vm);
      const slowly = vm.accel === 'tcg' ? ' (emulated, which is slow)' : '';
      progress.update(`booting the virtual machine${slowly}`);
      const { bootReport } = await import('@coracle/vm');
      return {
        template: vm.template,
        waitExit: (options) => vm.waitExit(options),
        async stop(options) {
          onEnd(bootReport(directory));
          await vm.stop(options);
        },
      };
    },
  };
}

function makeCgroup({ bundle, sandboxId, systemdCgroup, log }: SandboxPlan, directory: string): HostCgroup {
  const { cgroupsPath, resources = {} } = bundle.spec.linux ?? {};
  const path = hostCgroupPath(cgroupsPath, { systemd: systemdCgroup, sandboxId });
  const cgroup = createCgroup(directory, path, log);
  writeSettings(cgroup, (version) => hostSettings(version, resources));
  return cgroup;
}

/** Once it is known how the VM runs, and before the guest has run for long. */
function boundVm(cgroup: HostCgroup, { bundle }: SandboxPlan, vm: VmCost): void {
  writeSettings(cgroup, (version) => vmSettings(version, bundle.spec.linux?.resources ?? {}, vm));
}

function sharesOf(bundle: Bundle): Share[] {
  const mounts = bundle.binds.map(({ mount, source, readonly }) => ({
    name: mountName(mount),
    source,
    readonly,
  }));
  return [{ tag: shareTag, binds: [{ name: rootfsName, source: bundle.rootfs }, ...mounts] }];
}

export const rootfsName = 'rootfs';
export const mountName = (index: number): string => `mounts/${index}`;

/** As the driver chooses: virtiofs, and 9p only where there is no virtiofsd. */
async function shareType({ driver }: Settings): Promise<'local' | 'virtiofs' | '9p'> {
  if (driver === 'local') return 'local';
  const { findVirtiofsd } = await import('@coracle/vm');
  return findVirtiofsd({}) === undefined ? '9p' : 'virtiofs';
}
