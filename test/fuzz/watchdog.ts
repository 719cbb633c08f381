/**
 * A thread that looks whether inputs still come to an end. One that does not can't be stopped from within:
 * the thread writes it to a file and ends the process.
 */
import { writeFileSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const MAX_INPUT_BYTES = 64 * 1024;

interface Shared {
  /** How many inputs have begun, and the length of the present one. */
  readonly state: Int32Array;
  readonly input: Uint8Array;
  readonly file: string;
  readonly timeoutMs: number;
}

/** @returns what is to be called before each input */
export function startWatchdog(file: string, timeoutMs: number): (input: Buffer) => void {
  const state = new Int32Array(new SharedArrayBuffer(8));
  const input = new Uint8Array(new SharedArrayBuffer(MAX_INPUT_BYTES));
  const shared: Shared = { state, input, file, timeoutMs };
  new Worker(new URL(import.meta.url), { workerData: shared }).unref();
  return (bytes) => {
    input.set(bytes);
    Atomics.store(state, 1, bytes.length);
    Atomics.add(state, 0, 1);
  };
}

function watch({ state, input, file, timeoutMs }: Shared): void {
  let last = -1;
  setInterval(() => {
    const count = Atomics.load(state, 0);
    if (count === last && count > 0) {
      writeFileSync(file, Buffer.from(input.subarray(0, Atomics.load(state, 1))));
      process.kill(process.pid, 'SIGKILL');
    }
    last = count;
  }, timeoutMs);
}

if (!isMainThread) watch(workerData as Shared);
