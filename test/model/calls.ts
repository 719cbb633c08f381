/** Requests in the model: what they changed is counted by the agent, so that one that took effect twice is seen. */
import {
  type AgentHandlers,
  agentMethods,
  asRpcError,
  Cause,
  type ExitCause,
  type RpcError,
} from '@coracle/wire';
import type { Client } from './engine.ts';
import type { Program } from './program.ts';

export class Calls {
  /** By the call's name: how often it took effect. */
  readonly effects = new Map<string, number>();
  readonly #finish: (() => void)[] = [];
  readonly #asked: { name: string; answered: boolean; failure: RpcError | undefined; client: Client }[] = [];

  /** SignalProcess stands for all methods that change something, WaitProcess for those that wait. */
  handlers(programs: readonly Program[]): AgentHandlers {
    const none = Object.fromEntries(
      Object.keys(agentMethods).map((name) => [name, () => Promise.reject(new Error(`${name} was called`))]),
    ) as unknown as AgentHandlers;
    return {
      ...none,
      signalProcess: async ({ containerId }) => {
        this.effects.set(containerId, (this.effects.get(containerId) ?? 0) + 1);
        await new Promise<void>((resolve) => this.#finish.push(resolve));
        return {};
      },
      waitProcess: async ({ containerId }, { signal }) => {
        const program = programs[Number(containerId)] as Program;
        const aborted = new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
        const { cause, waitStatus, message, exitedAtNs } = await Promise.race([
          program.process.exited,
          aborted,
        ]);
        return { exit: { cause: Cause[cause] as number as ExitCause, waitStatus, message, exitedAtNs } };
      },
    };
  }

  /** The agent's work on all calls that have come is done. @returns whether there were any */
  finish(): boolean {
    const work = this.#finish.splice(0);
    for (const done of work) done();
    return work.length > 0;
  }

  /** `bytes`: a large one is cut into several frames. */
  change(client: Client, bytes: number): void {
    const name = `call-${this.#asked.length}-${'x'.repeat(bytes)}`;
    this.#track(client, name, client.session.call('signalProcess', call(name)));
  }

  wait(client: Client, program: Program): void {
    const request = { containerId: String(program.index), execId: '' };
    const answer = client.session.call('waitProcess', request).then(({ exit }) => {
      const { waitStatus } = program.process.exit ?? { waitStatus: -1 };
      if (exit?.waitStatus !== waitStatus) throw new Error(`a wait status of ${exit?.waitStatus}`);
    });
    this.#track(client, `wait for program ${program.index}`, answer);
  }

  #track(client: Client, name: string, answer: Promise<unknown>): void {
    const entry = { name, answered: false, failure: undefined as RpcError | undefined, client };
    this.#asked.push(entry);
    answer.then(
      () => {
        entry.answered = true;
      },
      (error: unknown) => {
        entry.failure = asRpcError(error);
      },
    );
  }

  check(): void {
    for (const [name, times] of this.effects) {
      if (times > 1) throw new Error(`${name.slice(0, 20)} took effect ${times} times`);
    }
    for (const { name, failure, client } of this.#asked) {
      if (failure !== undefined && !client.crashed) {
        throw new Error(`${name.slice(0, 30)} failed: ${failure.message}`);
      }
    }
  }

  /** @returns what is not answered */
  get unanswered(): string[] {
    return this.#asked
      .filter(({ answered, client }) => !answered && !client.crashed)
      .map(({ name }) => name.slice(0, 30));
  }
}

function call(containerId: string): { containerId: string; execId: string; signal: number; all: boolean } {
  return { containerId, execId: '', signal: 15, all: false };
}
