/** Starts one VM of an image and waits for its agent's hello, with a look at the clock at each sign. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bootFailure, createQemuDriver, readRecord, type Vm, VmError, vmPaths } from '@coracle/vm';
import type { GetAgentDetailsResponse } from '@coracle/wire';
import { ImageError } from '../errors.ts';
import { AgentLink } from './agent-link.ts';
import { watchConsole } from './console-watch.ts';

/** As much as a broken image may take on a busy machine under emulation. */
export const bootDeadlineMs = 60_000;

export interface StartOptions {
  readonly memoryBytes: number;
  readonly signal: AbortSignal;
  readonly console?: 'quiet' | 'verbose';
  readonly kernelArguments?: readonly string[];
}

export interface BootedVm extends AsyncDisposable {
  readonly vm: Vm;
  readonly link: AgentLink;
  readonly times: BootTimes;
}

/** Milliseconds since QEMU was started, by the host's clock; `details` has the guest's. */
export interface BootTimes {
  /** The console's first byte; undefined when no look has caught it. */
  readonly firmwareMs: number | undefined;
  /** The agent's first word on the console; undefined likewise. */
  readonly agentMs: number | undefined;
  readonly helloMs: number;
  readonly answerMs: number;
  readonly details: GetAgentDetailsResponse;
}

/**
 * @param directory the VM's own; it is made
 * @throws ImageError `boot-failed` with stage, console and remedy; `interrupted`
 */
export async function startVm(image: string, directory: string, options: StartOptions): Promise<BootedVm> {
  const { signal, memoryBytes } = options;
  await mkdir(directory, { mode: 0o700 });
  await using undo = new AsyncDisposableStack();
  try {
    const watching = new AbortController();
    undo.defer(() => watching.abort());
    const seen = watchConsole(vmPaths(directory).console, watching.signal);
    const vm = await createQemuDriver({ transport: 'virtio-serial', template: 'off' }).start(
      {
        directory,
        memoryBytes,
        vcpus: 1,
        image,
        shares: [],
        ...(options.console && { console: options.console }),
        ...(options.kernelArguments && { kernelArguments: options.kernelArguments }),
      },
      { signal },
    );
    undo.defer(() => vm.stop({ force: true }));
    // Written right before QEMU is started.
    const startedAt = Date.parse(readRecord(directory)?.createdAt ?? '');
    const since = () => performance.timeOrigin + performance.now() - startedAt;
    const link = undo.use(new AgentLink(vm.linkPath));
    await whileItRuns(vm, directory, signal, () => link.hello());
    const helloMs = since();
    watching.abort();
    const { firmwareAt, agentAt } = await seen;
    const details = await whileItRuns(vm, directory, signal, () => link.details(signal));
    const times = {
      firmwareMs: firmwareAt === undefined ? undefined : firmwareAt - startedAt,
      agentMs: agentAt === undefined ? undefined : agentAt - startedAt,
      helloMs,
      answerMs: since(),
      details,
    };
    const kept = undo.move();
    return { vm, link, times, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  } catch (error) {
    if (signal.aborted)
      throw new ImageError('interrupted', 'interrupted while a VM booted', { cause: error });
    if (!(error instanceof VmError)) throw error;
    throw new ImageError('boot-failed', `${image} does not boot: ${error.message}`, { cause: error });
  }
}

/** A VM that ends, or says nothing for a minute, is told by what its console has. */
async function whileItRuns<T>(
  vm: Vm,
  directory: string,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const watching = new AbortController();
  const stop = AbortSignal.any([signal, watching.signal]);
  const fails = async (after: Promise<unknown>, what: string): Promise<never> => {
    await after;
    throw bootFailure(directory, what);
  };
  const ended = fails(vm.waitExit({ signal: stop }), 'the VM ended before its agent answered');
  const late = fails(
    delay(bootDeadlineMs, undefined, { signal: stop }),
    `the agent did not answer within ${bootDeadlineMs / 1000} s`,
  );
  for (const end of [ended, late]) end.catch(() => undefined);
  try {
    // The link ends with the VM, and a moment before: then it is the console that says why.
    return await Promise.race([work().catch(() => Promise.race([ended, late])), ended, late]);
  } finally {
    watching.abort();
  }
}

export function vmDirectory(folder: string, number: number): string {
  return join(folder, `vm-${number}`);
}
