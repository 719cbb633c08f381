/** A program in the guest: the product's Process with real pipes, whose other ends the story holds. */
import { randomBytes } from 'node:crypto';
import { close, hasCode, pipe2, read, setPipeSize, write } from '@coracle/sys';
import { LinkCounters } from '../../packages/agent/src/counters.ts';
import { Process } from '../../packages/agent/src/process.ts';
import { RetentionBudget } from '../../packages/agent/src/retention.ts';
import { InputCheck, outputBytes } from './bytes.ts';

/** The smallest that the kernel makes: buffers are to be full now and then. */
export const PIPE_BYTES = 4096;

export interface ProgramKind {
  readonly terminal: boolean;
  readonly stdin: boolean;
}

export type Ending = 'exits with 42' | 'is killed by SIGTERM' | 'is out of memory';
export const waitStatusOf: Record<Ending, number> = {
  'exits with 42': 42 << 8,
  'is killed by SIGTERM': 15,
  'is out of memory': 9,
};

/** What it got over its control stream, in order. */
export interface Heard {
  readonly kind: 'signal' | 'resize';
  readonly value: number;
}

/** Signals and sizes are noted instead of obeyed: there is no process to take them. */
class NotedProcess extends Process {
  readonly heard: Heard[] = [];
  override signal(signal: number): boolean {
    if (this.exit !== undefined) return false;
    this.heard.push({ kind: 'signal', value: signal });
    return true;
  }
  override resize(columns: number): void {
    if (this.exit === undefined) this.heard.push({ kind: 'resize', value: columns });
  }
}

const scratch = Buffer.alloc(64 * 1024);

export class Program {
  readonly index: number;
  readonly kind: ProgramKind;
  readonly process: NotedProcess;
  readonly input: InputCheck;
  /** Bytes that stdout and stderr have taken of it. */
  readonly written = [0, 0];
  /** Offset at which the next write fails: the reader has gone. */
  readonly broken = [false, false];
  inputEnded = false;
  closedInput = false;
  ending: Ending | undefined;
  #stdin: number | undefined;
  readonly #outputs: (number | undefined)[];
  /** A grandchild's copy of stdout. */
  #inherited: number | undefined;

  constructor(index: number, kind: ProgramKind, windowBytes: number) {
    this.index = index;
    this.kind = kind;
    this.input = new InputCheck(`stdin of program ${index}`);
    this.process = new NotedProcess({
      number: index + 1,
      token: randomBytes(16),
      name: `program-${index}`,
      terminal: kind.terminal,
      stdin: kind.stdin,
      windowBytes,
      budget: new RetentionBudget(),
      counters: new LinkCounters(),
      outOfMemory: () => this.ending === 'is out of memory',
    });
    const stdin = pipe2({ nonblockingRead: true, nonblockingWrite: true });
    const outputs = [0, 1].map(() => pipe2({ nonblockingRead: true, nonblockingWrite: true }));
    for (const pipe of [stdin, ...outputs]) setPipeSize(pipe.write, PIPE_BYTES);
    this.#stdin = stdin.read;
    this.#outputs = outputs.map((pipe) => pipe.write);
    const [stdout, stderr] = outputs as [{ read: number }, { read: number; write: number }];
    if (kind.terminal) {
      // A terminal has no stderr; the rest of what sets it apart is in how it ends (docs/processes.md).
      close(stderr.read);
      close(stderr.write);
      this.#outputs[1] = undefined;
    }
    this.process.connect({
      stdin: stdin.write,
      stdout: stdout.read,
      stderr: kind.terminal ? undefined : stderr.read,
      terminal: undefined,
    });
    this.process.started(0);
  }

  write(stream: number, bytes: number): void {
    const fd = this.#outputs[stream];
    if (fd === undefined) return;
    try {
      const count = write(fd, outputBytes(this.index, stream, this.written[stream] as number, bytes));
      if (count !== 'again') this.written[stream] = (this.written[stream] as number) + count;
    } catch (error) {
      if (!hasCode(error, 'EPIPE')) throw error;
      this.broken[stream] = true;
    }
  }

  /** @returns whether anything came */
  read(bytes: number): boolean {
    if (this.#stdin === undefined) return false;
    const count = read(this.#stdin, scratch.subarray(0, Math.min(bytes, scratch.length)));
    if (count === 'eof') {
      const news = !this.inputEnded;
      this.inputEnded = true;
      return news;
    }
    if (count === 'again' || count === 0) return false;
    this.input.take(scratch.subarray(0, count));
    return true;
  }

  closeInput(): void {
    if (this.#stdin === undefined) return;
    this.closedInput = true;
    close(this.#stdin);
    this.#stdin = undefined;
  }

  exit(ending: Ending, leavesGrandchild: boolean): void {
    if (this.ending !== undefined) return;
    this.ending = ending;
    if (this.#stdin !== undefined) close(this.#stdin);
    this.#stdin = undefined;
    if (leavesGrandchild) {
      this.#inherited = this.#outputs[0];
      this.#outputs[0] = undefined;
    }
    this.#closeOutputs();
    this.process.onExit(waitStatusOf[ending]);
  }

  /** Output behind the exit: nobody may get it, and it must neither block nor kill. */
  grandchildWrites(bytes: number): void {
    if (this.#inherited === undefined) return;
    try {
      write(this.#inherited, Buffer.alloc(bytes, '!'));
    } catch (error) {
      if (!hasCode(error, 'EPIPE')) throw error;
    }
  }

  #closeOutputs(): void {
    for (const [index, fd] of this.#outputs.entries()) {
      if (fd !== undefined) close(fd);
      this.#outputs[index] = undefined;
    }
  }

  dispose(): void {
    if (this.#stdin !== undefined) close(this.#stdin);
    this.#stdin = undefined;
    this.#closeOutputs();
    if (this.#inherited !== undefined) close(this.#inherited);
    this.#inherited = undefined;
    this.process.dispose();
  }
}
