/**
 * Making a container: everything wrong with the bundle is found before anything is started; the proxy starts
 * while the VM boots; whatever fails or interrupts, at any step, undoes the steps before it.
 *
 *     bundle ─► id and lock ─┬► VM ────┬► agent ─► container ─► shim ─► pid file
 *                            └► proxy ─┘
 */
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Container, type OciConfig, parseJson, type Sandbox } from '@coracle/client';
import type { Lock, SavedTerminal } from '@coracle/sys';
import type { VmSize } from '@coracle/vm';
import { type Bundle, readBundle } from './bundle.ts';
import type { Context } from './command.ts';
import { type ConsolePlan, planConsole } from './console.ts';
import { restore, saveTerminal } from './foreground.ts';
import { checkContainerId } from './ids.ts';
import { writePidFile } from './pid-file.ts';
import { identify } from './process-identity.ts';
import { Progress } from './progress.ts';
import { proxyPlace, stopOwnProxy } from './proxy.ts';
import { mountName, removeSandbox, rootfsName, shareTag, startSandbox } from './sandbox.ts';
import { sandboxIdOf } from './sandbox-id.ts';
import { checkRunDirectory } from './settings.ts';
import { type Shim, startShim, wantsStdin } from './shim.ts';
import { startError } from './start-error.ts';
import type { ContainerState } from './state.ts';
import { startTemplateMaker } from './template-maker.ts';

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
  { store, settings, log }: Context,
  signal: AbortSignal,
): Promise<Created> {
  const id = checkContainerId(request.id);
  const bundle = readBundle(request.bundle);
  checkRunDirectory(settings.runDirectory);
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
  };
  store.write(creating);

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
    onTemplateMissing: (size) => {
      missing = size;
    },
  });
  undo.defer(() => sandbox.close());
  const container = await createInGuest(sandbox, bundle, id, console, signal);

  undo.defer(() => restore(console, terminal));
  const shim = await startShim(
    {
      proxy,
      sandboxId,
      process: container.process.handle,
      name: `container ${id}`,
      console,
      stdin: wantsStdin(console),
      exitFile: store.exitFile(id),
    },
    signal,
  );
  undo.defer(() => shim.kill());
  const state: ContainerState = { ...creating, phase: 'created', shim: shim.identity };
  store.write(state);
  if (request.pidFile !== undefined) {
    const pidFile = resolve(request.pidFile);
    writePidFile(pidFile, shim.identity.pid);
    undo.defer(() => rmSync(pidFile, { force: true }));
  }
  signal.throwIfAborted();
  if (missing !== undefined && settings.template === 'auto') startTemplateMaker(settings, missing);
  return keepable({ state, container, shim, console, terminal }, { lock, sandbox, undo: undo.move() });
}

function keepable(
  made: Pick<Created, 'state' | 'container' | 'shim' | 'console' | 'terminal'>,
  { lock, sandbox, undo }: { lock: Lock; sandbox: Sandbox; undo: AsyncDisposableStack },
): Created {
  let kept = false;
  return {
    ...made,
    keep() {
      kept = true;
      lock.release();
      sandbox.close();
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
      config: parseJson(bundle.configText) as OciConfig,
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

function describe(request: CreateRequest, { directory, rootfs, spec }: Bundle) {
  const runner = request.keepsWatch ? identify(process.pid) : undefined;
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
    ...(runner === undefined ? {} : { runner }),
  } as const;
}

/** Lets the process of a created container go. @throws CliError, or the signal's reason */
export async function startContainer(container: Container, signal?: AbortSignal): Promise<void> {
  try {
    await container.start(signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw startError(error, `cannot start container ${container.id}`);
  }
}
