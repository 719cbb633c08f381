/** Boots an image to see how fast it starts and what it takes; nothing of the VMs is left. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { vmPaths } from '@coracle/vm';
import type { GuestMemory } from '@coracle/wire';
import { ImageError } from '../errors.ts';
import { loadImage } from '../load.ts';
import type { Manifest } from '../manifest.ts';
import { type Progress, silentProgress } from '../progress.ts';
import { withTemporaryFolder } from '../temporary.ts';
import { hostMemory, type MappingMemory } from './host-memory.ts';
import { type Initcall, initcallArguments, parseInitcalls } from './initcalls.ts';
import { type Phase, type PhaseSummary, phasesOf, summarise } from './phases.ts';
import { type BootedVm, startVm, vmDirectory } from './start.ts';

const mebibyte = 1024 * 1024;
/** What a sandbox of the client library gets. */
export const defaultVmMemoryBytes = 256 * mebibyte;
/** After it a guest does nothing by itself any more. */
const settleMs = 1000;

export interface BootOptions {
  /** Boots from whose phases the medians are; 0 for no profile. Default 3. */
  readonly runs?: number;
  /** VMs that run at once while memory is looked at; 0 for no look. Default 0. */
  readonly vms?: number;
  /** Boot once more with the kernel's own trace of its initcalls. */
  readonly initcalls?: boolean;
  readonly vmMemoryBytes?: number;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

export interface BootReport {
  readonly image: string;
  readonly manifest: Manifest;
  readonly accel: 'kvm' | 'tcg' | undefined;
  readonly vmMemoryBytes: number;
  readonly profile?: Profile;
  readonly initcalls?: readonly Initcall[];
  /** One for each VM. */
  readonly memory?: readonly VmMemory[];
}

export interface Profile {
  readonly phases: readonly PhaseSummary[];
  /** QEMU's start to the agent's hello, of each run. */
  readonly helloMs: readonly number[];
}

export interface VmMemory {
  readonly guest: { readonly [K in keyof GuestMemory]: number };
  readonly host: readonly MappingMemory[];
}

/** @throws ImageError `boot-failed` with stage, console and remedy; `image-invalid`; `interrupted` */
export async function bootImage(folder: string, options: BootOptions = {}): Promise<BootReport> {
  const { runs = 3, vms = 0, vmMemoryBytes = defaultVmMemoryBytes, progress = silentProgress } = options;
  const { signal = new AbortController().signal } = options;
  const image = await loadImage(folder);
  const { manifest } = image;
  return await withTemporaryFolder(async (scratch) => {
    let accel: BootReport['accel'];
    let started = 0;
    const start = async (more: Partial<Parameters<typeof startVm>[2]> = {}): Promise<BootedVm> => {
      const directory = vmDirectory(scratch, started++);
      const booted = await startVm(image.folder, directory, { memoryBytes: vmMemoryBytes, signal, ...more });
      accel = booted.vm.accel;
      return booted;
    };
    const profile = runs > 0 ? await takeProfile(runs, manifest, start, progress) : undefined;
    const initcalls = options.initcalls
      ? await progress.step('boot with a trace of initcalls', () => traceInitcalls(start))
      : undefined;
    const memory =
      vms > 0
        ? await progress.step(`memory of ${vms === 1 ? '1 VM' : `${vms} VMs`}`, () =>
            lookAtMemory(vms, image.rootPath, start, signal),
          )
        : undefined;
    return {
      image: image.folder,
      manifest,
      accel,
      vmMemoryBytes,
      ...(profile && { profile }),
      ...(initcalls && { initcalls }),
      ...(memory && { memory }),
    };
  });
}

type Start = (more?: { console?: 'verbose'; kernelArguments?: readonly string[] }) => Promise<BootedVm>;

async function takeProfile(
  runs: number,
  manifest: Manifest,
  start: Start,
  progress: Progress,
): Promise<Profile> {
  const helloMs: number[] = [];
  const phases: Phase[][] = [];
  for (let run = 1; run <= runs; run++) {
    await progress.step(`boot ${run} of ${runs}`, async () => {
      await using booted = await start();
      helloMs.push(booted.times.helloMs);
      phases.push(phasesOf(booted.times, manifest.initrd !== null));
    });
  }
  return { phases: summarise(phases), helloMs };
}

async function traceInitcalls(start: Start): Promise<Initcall[]> {
  await using booted = await start({ console: 'verbose', kernelArguments: initcallArguments });
  return parseInitcalls(await readFile(vmPaths(booted.vm.directory).console, 'latin1'));
}

async function lookAtMemory(
  vms: number,
  rootPath: string | undefined,
  start: Start,
  signal: AbortSignal,
): Promise<VmMemory[]> {
  await using undo = new AsyncDisposableStack();
  const outcomes = await Promise.allSettled(Array.from({ length: vms }, () => start()));
  const booted = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [undo.use(one.value)] : []));
  const failed = outcomes.find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  try {
    await delay(settleMs, undefined, { signal });
  } catch (cause) {
    throw new ImageError('interrupted', 'interrupted while VMs ran', { cause });
  }
  return await Promise.all(
    booted.map(async ({ vm, link }) => {
      const { memory } = await link.details(signal);
      if (memory === undefined) {
        throw new ImageError(
          'image-invalid',
          "the image's agent does not tell the guest's memory: it is too old",
        );
      }
      const guest = Object.fromEntries(Object.entries(memory).map(([name, bytes]) => [name, Number(bytes)]));
      const host = await hostMemory(vm.pids[0] as number, rootPath);
      return { guest: guest as VmMemory['guest'], host };
    }),
  );
}
