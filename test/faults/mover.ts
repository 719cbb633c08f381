/** The host's half of one process of the fault suite: feeds it, and checks every byte that it writes. */
import { once } from 'node:events';
import { within } from '../contract/place.ts';
import type { Carrier, CarrierKind } from './carriers.ts';
import { BLOCK_BYTES, BlockType, Checker, type Fault, makeBlocks } from './pattern.ts';

export interface MoverPlan {
  readonly index: number;
  readonly kind: CarrierKind;
  readonly seedOut: number;
  readonly seedIn: number;
  /** Each direction moves `blocks` blocks every so often; 0: as fast as it goes. */
  readonly periodMs: number;
  readonly blocks: number;
  readonly exitCode: number;
}

export interface Moved {
  readonly name: string;
  readonly outBytes: number;
  readonly inBytes: number;
  readonly lostBytes: number;
  readonly doubledBytes: number;
  readonly exitCode: number;
  readonly wrong: string | undefined;
}

/** Where both directions stood, to see when they move on. */
interface Mark {
  readonly received: number;
  readonly confirmed: number;
}

export class Mover {
  readonly plan: MoverPlan;
  readonly carrier: Carrier;
  readonly #checker: Checker;
  readonly #feeding: Promise<void>;
  readonly #begun = Promise.withResolvers<void>();
  readonly #complete = Promise.withResolvers<void>();
  #sent = 0;
  #stopping = false;
  #fed = false;
  #fault: Fault | undefined;
  #wrong: string | undefined;
  #mark: Mark | undefined;
  #movedAt: number | undefined;
  #firstAt: number | undefined;

  constructor(plan: MoverPlan, carrier: Carrier) {
    this.plan = plan;
    this.carrier = carrier;
    this.#checker = new Checker(plan.seedOut);
    // Read on after the last block too: a byte more would be one too many.
    carrier.output.on('data', (bytes: Buffer) => this.#take(bytes));
    carrier.output.on('error', (error: Error) => this.#fail(`its output failed: ${error.message}`));
    carrier.output.on('end', () => {
      if (!this.#checker.stopped) this.#fail('its output ended early');
    });
    // Once the last block is written, the process may have ended before the stream: that is EPIPE.
    carrier.input.on('error', (error: Error) => {
      if (!this.#fed) this.#fail(`its input failed: ${error.message}`);
    });
    this.#begun.promise.catch(() => undefined);
    this.#complete.promise.catch(() => undefined);
    this.#feeding = this.#feed();
    this.#feeding.catch((error: Error) => this.#fail(error.message));
  }

  get name(): string {
    return `${String(this.plan.index).padStart(2)} ${this.plan.kind}`;
  }
  get bytes(): number {
    return this.#checker.received + this.#checker.confirmed;
  }
  /** The first thing that went wrong. */
  get wrong(): string | undefined {
    return this.#wrong;
  }
  /** Resolves when the process has written something: a terminal is in raw mode then. */
  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  /** From now on `movedAt` says when both directions have moved beyond where they are now. */
  mark(): void {
    this.#mark = { received: this.#checker.received, confirmed: this.#checker.confirmed };
    this.#firstAt = this.#movedAt = undefined;
  }
  get movedAt(): number | undefined {
    return this.#movedAt;
  }
  /** When the first byte came after the mark. */
  get firstAt(): number | undefined {
    return this.#firstAt;
  }

  /** Where it stands, for a report of one that does not move. */
  describe(): string {
    const { received, confirmed } = this.#checker;
    return `${this.name}: ${received} bytes came, ${confirmed} of ${this.#sent} were taken; ${this.carrier.said()}`;
  }

  /** Tells the process to stop and waits for its end. */
  async finish(deadlineMs: number): Promise<Moved> {
    this.#stopping = true;
    const end = async (): Promise<number> => {
      await this.#feeding;
      await this.#complete.promise;
      return await this.carrier.ended();
    };
    const exitCode = await within(end(), deadlineMs, `${this.describe()} ends`).catch((error: Error) => {
      this.#fail(error.message);
      return -1;
    });
    if (exitCode !== this.plan.exitCode)
      this.#fail(`its exit code is ${exitCode}, not ${this.plan.exitCode}`);
    if (this.#checker.confirmed !== this.#sent)
      this.#fail(`it took ${this.#checker.confirmed} bytes of the ${this.#sent} that were sent`);
    const shift = this.#fault?.shift ?? 0;
    return {
      name: this.name,
      outBytes: this.#checker.received,
      inBytes: this.#checker.confirmed,
      lostBytes: Math.max(shift, 0),
      doubledBytes: Math.max(-shift, 0),
      exitCode,
      wrong: this.#wrong,
    };
  }

  #take(bytes: Buffer): void {
    if (this.#fault !== undefined) return;
    this.#fault = this.#checker.take(bytes);
    if (this.#fault !== undefined) {
      this.#fail(
        `wrong at offset ${this.#fault.offset}: ${this.#fault.text}; ${bytes.subarray(0, 300).toString('latin1')}`,
      );
      return;
    }
    this.#begun.resolve();
    if (this.#mark !== undefined) {
      const now = performance.now();
      this.#firstAt ??= now;
      if (this.#checker.received > this.#mark.received && this.#checker.confirmed > this.#mark.confirmed)
        this.#movedAt ??= now;
    }
    if (this.#checker.stopped) this.#complete.resolve();
  }

  async #feed(): Promise<void> {
    await this.#begun.promise;
    const { seedIn, blocks, periodMs } = this.plan;
    const { input } = this.carrier;
    for (let block = 0; this.#wrong === undefined; block += blocks) {
      const last = this.#stopping;
      const bytes = makeBlocks(seedIn, block, blocks, last ? BlockType.stop : BlockType.data);
      this.#sent += blocks * BLOCK_BYTES;
      this.#fed = last;
      const room = input.write(bytes);
      if (last) break;
      if (!room) await once(input, 'drain');
      await new Promise((resolve) =>
        periodMs === 0 ? setImmediate(resolve) : setTimeout(resolve, periodMs),
      );
    }
  }

  #fail(why: string): void {
    this.#wrong ??= why;
    const error = new Error(`${this.name}: ${why}`);
    this.#begun.reject(error);
    this.#complete.reject(error);
  }
}
