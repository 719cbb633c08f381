/**
 * Making a container: everything wrong with the bundle is found before anything is started; the proxy starts
 * while the VM boots; whatever fails or interrupts, at any step, undoes the steps before it.
 *
 *     bundle ─► id and lock ─┬► VM ────┬► agent ─► container ─► shim ─► hooks ─► network ─► pid file
 *                            └► proxy ─┘
 */
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Container, type OciConfig, parseJson, type Sandbox } from '@coracle/client';
import type { Lock, SavedTerminal } from '@coracle/sys';
import type { VmSize } from '@coracle/vm';
import { cgroupFolders, cgroupOf } from '../cgroup/cgroup.ts';
import { Progress } from '../cli/progress.ts';
import type { Context } from '../command.ts';
import { checkRunDirectory } from '../host/settings.ts';
import { planNamespace } from '../network/namespace.ts';
import { endNetworkProcesses, releaseNetwork, syncCommand, syncNetwork } from '../network/sync-network.ts';
import { proxyPlace, stopOwnProxy } from '../sandbox/proxy.ts';
import { mountName, removeSandbox, rootfsName, shareTag, startSandbox } from '../sandbox/sandbox.ts';
import { sandboxIdOf } from '../sandbox/sandbox-id.ts';
import { startTemplateMaker } from '../sandbox/template-maker.ts';
import { type Bundle, readBundle } from '../spec/bundle.ts';
import { checkCompatibility, type LooseConfig, withoutForeignDevices } from '../spec/compatibility.ts';
import type { Spec } from '../spec/spec.ts';
import { withTmpfsModes } from '../spec/tmpfs-modes.ts';
import { type ConsolePlan, planConsole } from './console.ts';
import { restore, saveTerminal } from './foreground.ts';
import { checkHooks, runHooks, runHooksAnyway } from './hooks.ts';
import { checkContainerId } from './ids.ts';
import { mountView } from './mount-view.ts';
import { writePidFile } from './pid-file.ts';
import { identify } from './process-identity.ts';
import { type Shim, startShim, wantsStdin } from './shim.ts';
import { startError } from './start-error.ts';
import type { ContainerState } from './state.ts';

export interface CreateRequest {
  readonly id: string;
  readonly bundle: string;
  /** The engine does not wait for our end but watches the shim. */
  readonly detach: boolean;
  readonly consoleSocket: string | undefined;
  readonly pidFile: string | undefined;
  /** Whether this process stays and removes the container when it has ended. */
  readonly keepsWatch: boolean;
}

/** Disposing of it removes the container again, unless `keep` was called. */
export interface Created extends AsyncDisposable {
  readonly state: ContainerState;
  readonly sandbox: Sandbox;
  readonly container: Container;
  readonly shim: Shim;
  readonly console: ConsolePlan;
  /** The modes of our terminal before the shim had it. */
  readonly terminal: SavedTerminal | undefined;
  /** From here on the container stays when this process ends; the lock is given back. */
  keep(): void;
}

/** @throws CliError, VmError, or the signal's reason; nothing is left behind then */
export async function createContainer(
  request: CreateRequest,
  { store, settings, log, systemdCgroup }: Context,
  signal: AbortSignal,
): Promise<Created> {
  const id = checkContainerId(request.id);
  const bundle = readBundle(request.bundle);
  if (settings.driver !== 'local') {
    for (const warning of checkCompatibility(bundle.spec as Spec & LooseConfig, bundle.binds))
      log.warning(warning);
  }
  checkRunDirectory(settings.runDirectory);
  checkHooks(bundle.spec.hooks);
  const network = planNamespace(bundle.spec, settings.driver);
  const console = planConsole(bundle.spec.process, request);
  const terminal = saveTerminal(console);
  const sandboxId = sandboxIdOf(store.root, id);
  const proxy = proxyPlace(settings, sandboxId);
  const directory = join(proxy.sandboxes, sandboxId);

  await using undo = new AsyncDisposableStack();
  const lock = undo.use(await store.reserve(id));
  undo.defer(() => store.remove(id));
  const creating: ContainerState = {
    ...describe(request, bundle),
    sandboxId,
    sandboxDirectory: directory,
    proxySocket: proxy.socketPath,
    driver: settings.driver,
    network,
  };
  store.write(creating);
  let hooksBegun = false;
  undo.defer(async () => {
    if (hooksBegun) await runHooksAnyway('poststop', creating.hooks, creating, 'stopped', log);
  });
  undo.defer(() => releaseNetwork(store, creating, log));

  using progress = new Progress('starting the virtual machine');
  undo.defer(() => removeSandbox(directory));
  undo.defer(() => stopOwnProxy(proxy));
  const owner = { root: store.root, id };
  let missing: VmSize | undefined;
  const sandbox = await startSandbox({
    sandboxId,
    directory,
    owner,
    bundle,
    proxy,
    settings,
    signal,
    progress,
    log,
    systemdCgroup,
    onTemplateMissing: (size) => {
      missing = size;
    },
  });
  undo.defer(() => sandbox.close());
  const container = await createInGuest(sandbox, bundle, id, console, signal);

  undo.defer(() => restore(console, terminal));
  const mounts = mountView(bundle);
  const shim = await startShim(
    {
      proxy,
      sandboxId,
      process: container.process.handle,
      name: `container ${id}`,
      console,
      stdin: wantsStdin(console),
      network,
      ...(mounts === undefined ? {} : { mounts }),
      ...(settings.driver === 'local' ? {} : { onNetworkChange: syncCommand(store, id) }),
      exitFile: store.exitFile(id),
      command: bundle.spec.process.args ?? [],
      cgroups: cgroupFolders(cgroupOf(directory)),
      container: store.directory(id),
    },
    signal,
  );
  undo.defer(() => endNetworkProcesses(store, id));
  undo.defer(() => shim.kill());
  const withShim: ContainerState = { ...creating, shim: shim.identity };
  store.write(withShim);
  hooksBegun = true;
  for (const kind of ['prestart', 'createRuntime'] as const)
    await runHooks(kind, bundle.spec.hooks, withShim, 'creating', signal);
  await syncNetwork(store, withShim, async () => sandbox);
  const state: ContainerState = { ...withShim, phase: 'created' };
  store.write(state);
  if (request.pidFile !== undefined) {
    const pidFile = resolve(request.pidFile);
    writePidFile(pidFile, shim.identity.pid);
    undo.defer(() => rmSync(pidFile, { force: true }));
  }
  signal.throwIfAborted();
  if (missing !== undefined && settings.template === 'auto') startTemplateMaker(settings, missing);
  return keepable({ state, sandbox, container, shim, console, terminal }, { lock, undo: undo.move() });
}

function keepable(
  made: Omit<Created, 'keep' | typeof Symbol.asyncDispose>,
  { lock, undo }: { lock: Lock; undo: AsyncDisposableStack },
): Created {
  let kept = false;
  return {
    ...made,
    keep() {
      kept = true;
      lock.release();
      made.sandbox.close();
    },
    async [Symbol.asyncDispose]() {
      if (!kept) await undo.disposeAsync();
    },
  };
}

async function createInGuest(
  sandbox: Sandbox,
  bundle: Bundle,
  id: string,
  console: ConsolePlan,
  signal: AbortSignal,
): Promise<Container> {
  const size = console.kind === 'pipes' ? undefined : console.size;
  try {
    return await sandbox.createContainer({
      id,
      config: configForGuest(bundle),
      rootfs: { share: shareTag, path: rootfsName },
      bindSources: bundle.binds.map(({ mount }) => ({ mount, share: shareTag, path: mountName(mount) })),
      stdin: wantsStdin(console),
      ...(size === undefined ? {} : { terminalSize: size }),
      attach: false,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    throw startError(error, 'create failed', { process: bundle.spec.process });
  }
}

function configForGuest({ configText, rootfs }: Bundle): OciConfig {
  return withTmpfsModes(withoutForeignDevices(parseJson(configText) as OciConfig & LooseConfig), rootfs);
}

function describe(request: CreateRequest, { directory, rootfs, spec }: Bundle) {
  const { poststart, poststop } = spec.hooks ?? {};
  const hooks = { ...(poststart ? { poststart } : {}), ...(poststop ? { poststop } : {}) };
  const runner = request.keepsWatch ? identify(process.pid) : undefined;
  const { resources } = spec.linux ?? {};
  return {
    version: 1,
    id: request.id,
    phase: 'creating',
    paused: false,
    bundle: directory,
    rootfs,
    ociVersion: spec.ociVersion,
    annotations: spec.annotations ?? {},
    createdAt: new Date().toISOString(),
    owner: process.getuid!(),
    ownProcesses:
      spec.linux?.namespaces?.some(({ type, path }) => type === 'pid' && path === undefined) ?? false,
    ...(resources === undefined ? {} : { resources }),
    ...(Object.keys(hooks).length === 0 ? {} : { hooks }),
    ...(runner === undefined ? {} : { runner }),
  } as const;
}
