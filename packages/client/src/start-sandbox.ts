/** Starting a sandbox: folder, VM, connection, CreateSandbox; whatever fails, nothing of it stays. */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isRpcError, RpcError } from '@coracle/wire';
import { type Abortable, sleep, throwIfAborted } from './abort.ts';
import { Sandbox, type SandboxOwner } from './sandbox.ts';
import { Session, type SessionOptions } from './session.ts';
import { resolveSharePath, type ShareLike, type VmDriverLike, type VmLike } from './vm.ts';

export interface StartSandboxOptions extends Abortable {
  readonly vm: VmDriverLike;
  /** 1 to 128 of `A-Za-z0-9_.-`; random by default. Short: it is part of the paths of unix sockets. */
  readonly id?: string;
  /** Folder of the guest image; the local driver needs none. */
  readonly image?: string;
  /** 256 MiB by default. */
  readonly memoryBytes?: number;
  /** 1 by default. */
  readonly vcpus?: number;
  /** Host folders and files for the containers: root file systems and bind mounts. */
  readonly shares?: readonly ShareLike[];
  /** How the driver brings shares into the guest. */
  readonly shareType?: 'virtiofs' | '9p' | 'local';
  /** The sandbox id by default. */
  readonly hostname?: string;
  /** Explains a VM that ends before its agent answers, from its console: `bootFailure` of @coracle/vm. */
  readonly bootFailure?: (directory: string, what: string, cause: unknown) => Error;
}

/** As much as the kernel's generator keeps of its pool (drivers/char/random.c). */
const ENTROPY_BYTES = 32;
const DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024;
const SANDBOX_ID = /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,128}$/;

/** @throws RpcError invalid_argument */
export function checkSandboxId(id: string): void {
  if (SANDBOX_ID.test(id)) return;
  throw new RpcError('invalid_argument', `${JSON.stringify(id)} is no sandbox id: 1 to 128 of A-Za-z0-9_.-`);
}

export async function startSandbox(
  sandboxes: string,
  session: SessionOptions,
  options: StartSandboxOptions,
): Promise<Sandbox> {
  const { vm: driver, id = randomBytes(8).toString('hex'), signal, shares = [] } = options;
  checkSandboxId(id);
  throwIfAborted(signal);
  const directory = join(sandboxes, id);
  await using undo = new AsyncDisposableStack();
  await makeDirectory(sandboxes, directory);
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const vm = await driver.start(
    {
      directory,
      memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
      vcpus: options.vcpus ?? 1,
      image: options.image ?? '',
      shares,
    },
    signal === undefined ? {} : { signal },
  );
  undo.defer(() => vm.stop({ force: true }));
  const link = new Session(id, session);
  undo.defer(() => link.close());
  await whileVmRuns(vm, directory, options, () => link.bind(signal));
  const type = options.shareType ?? (driver.name === 'local' ? 'local' : 'virtiofs');
  await link.call(
    'createSandbox',
    {
      sandboxId: id,
      hostname: options.hostname ?? id,
      // Read-only is said bind by bind, on the host's side.
      shares: shares.map(({ tag }) => ({ tag, type, readonly: false, source: type === 'local' ? '/' : '' })),
      hostTimeNs: BigInt(Date.now()) * 1_000_000n,
      entropy: randomBytes(ENTROPY_BYTES),
      findDevices: vm.template !== undefined,
      rehearsal: false,
    },
    signal === undefined ? {} : { signal },
  );
  undo.move();
  const owner: SandboxOwner = {
    stop: async ({ force }) => {
      await vm.stop({ force });
      await rm(directory, { recursive: true, force: true });
    },
    resolvePath: (at) => (type === 'local' ? resolveSharePath(shares, at) : at.path),
  };
  return new Sandbox(link, owner);
}

async function makeDirectory(sandboxes: string, directory: string): Promise<void> {
  await mkdir(sandboxes, { recursive: true, mode: 0o700 });
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new RpcError('already_exists', `there is a sandbox in ${directory} already`, { cause: error });
  }
}

/** QEMU takes its sockets away before it ends. From the one to the other it needs some ms, more on a busy host. */
const ENDING_MS = 2000;

/** A VM that ends while it boots is reported at once, and by what its console said. */
export async function whileVmRuns(
  vm: VmLike,
  directory: string,
  { bootFailure, signal }: Pick<StartSandboxOptions, 'bootFailure' | 'signal'>,
  bind: () => Promise<void>,
): Promise<void> {
  const watching = new AbortController();
  const what = 'the VM ended before its agent answered';
  const ended = vm.waitExit({ signal: watching.signal }).then(() => {
    const error = new RpcError('unavailable', what);
    throw bootFailure?.(directory, what, error) ?? error;
  });
  ended.catch(() => undefined);
  try {
    await Promise.race([bind(), ended]).catch(async (error) => {
      // A link that is not there any more may be the first sign of that end, and says nothing of its reason.
      if (isRpcError(error) && (error.code === 'not_found' || error.code === 'unavailable'))
        await Promise.race([ended, sleep(ENDING_MS, signal)]);
      throw error;
    });
  } finally {
    watching.abort();
  }
}
