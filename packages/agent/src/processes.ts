/** All processes of the sandbox by their number, and the way of each frame to its process. */
import { kernelRandom } from '@coracle/sys';
import {
  Code,
  type Connection,
  encodeFailure,
  type Frame,
  FrameType,
  MAX_PROCESS_NUMBER,
  RpcError,
  TOKEN_BYTES,
  violation,
} from '@coracle/wire';
import { LinkCounters } from './counters.ts';
import { AGENT_LIMITS } from './limits.ts';
import { Process, type ProcessOptions } from './process.ts';
import { RetentionBudget } from './retention.ts';

export class ProcessTable {
  readonly #processes = new Map<number, Process>();
  readonly #budget = new RetentionBudget();
  readonly #maxProcesses: number;
  readonly #counters: LinkCounters;
  #last = 0;
  #starting = 0;

  constructor(maxProcesses = AGENT_LIMITS.maxProcesses, counters = new LinkCounters()) {
    this.#maxProcesses = maxProcesses;
    this.#counters = counters;
  }

  /** A process with a number of its own, never used again. It is not known to the link before `publish`. */
  make(options: Omit<ProcessOptions, 'number' | 'token' | 'budget' | 'counters'>): Process {
    if (this.#last >= MAX_PROCESS_NUMBER)
      throw new RpcError('resource_exhausted', 'no process numbers are left in this VM');
    return new Process({
      ...options,
      number: ++this.#last,
      budget: this.#budget,
      counters: this.#counters,
      token: kernelRandom(TOKEN_BYTES),
    });
  }

  /**
   * A process is about to be started; disposed of when that is over.
   * @throws RpcError resource_exhausted when too many run
   */
  reserve(): Disposable {
    let running = this.#starting;
    for (const process of this.#processes.values()) if (process.exit === undefined) running++;
    if (running >= this.#maxProcesses)
      throw new RpcError('resource_exhausted', `${this.#maxProcesses} processes run in this VM already`);
    this.#starting++;
    return { [Symbol.dispose]: () => void this.#starting-- };
  }

  publish(process: Process): void {
    this.#processes.set(process.number, process);
  }

  remove(process: Process): void {
    this.#processes.delete(process.number);
    process.dispose();
  }

  detachAll(): void {
    for (const process of this.#processes.values()) process.detach();
  }

  /** @throws RpcError invalid_argument when the frame breaks the rules */
  handle(frame: Frame, connection: Connection): void {
    const number = Math.floor(frame.id / 4);
    if (frame.type === FrameType.ATTACH && frame.id % 4 !== 0)
      throw violation(`ATTACH to stream ${frame.id}`);
    const process = this.#processes.get(number);
    if (process !== undefined) process.handle(frame, connection);
    // Whoever still sends, or attaches, learns that there is nothing; a removed process is nobody's fault.
    else
      connection.send({
        type: FrameType.REFUSED,
        id: number * 4,
        generation: frame.generation,
        payload: encodeFailure(
          Code.not_found,
          `there is no process ${number}; its container may have been removed`,
        ),
      });
  }
}
