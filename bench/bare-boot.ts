/**
 * A bare boot: the kernel of the image with the same devices and QEMU, and as process 1 not the agent but busybox's
 * echo, from the same root. From QEMU's start until its word is on the console, looked at every 2 ms; so the kernel's
 * start of a program is in it, as it is in the agent's hello.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createQemuDriver, readRecord, sizeVm } from '@coracle/vm';

const WORD = 'bare-boot-reached-init';
/** An initramfs has a process 1 of its own, which is a script of busybox and says so. */
const REACHED = new RegExp(`${WORD}|coracle-boot: initrd`);
const LOOK_MS = 2;
const DEADLINE_MS = 60_000;

/** @returns ms, one per boot */
export async function bareBoots(
  image: string,
  rounds: number,
  memoryBytes = sizeVm({}).memoryBytes,
): Promise<number[]> {
  const took: number[] = [];
  for (let round = 0; round < rounds; round++) took.push(await bareBoot(image, memoryBytes));
  return took;
}

async function bareBoot(image: string, memoryBytes: number): Promise<number> {
  const directory = mkdtempSync(path.join(tmpdir(), 'coracle-bare-'));
  const seen = new AbortController();
  try {
    const word = wordSeen(path.join(directory, 'console.log'), seen.signal);
    word.catch(() => undefined);
    const vm = await createQemuDriver({ transport: 'virtio-serial', template: 'off' }).start({
      ...{ directory, memoryBytes, vcpus: 1, image, shares: [] },
      // What follows `--` are the program's arguments.
      kernelArguments: ['init=/usr/bin/echo', '--', WORD],
    });
    const startedAt = Date.parse(readRecord(directory)?.createdAt ?? '');
    try {
      return (await word) - startedAt;
    } finally {
      await vm.stop({ force: true });
    }
  } finally {
    seen.abort();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function wordSeen(console: string, signal: AbortSignal): Promise<number> {
  const begun = performance.now();
  while (!signal.aborted && performance.now() - begun < DEADLINE_MS) {
    if (REACHED.test(read(console))) return performance.timeOrigin + performance.now();
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Error(`the bare boot did not come to ${WORD}:\n${read(console).slice(-1000)}`);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
