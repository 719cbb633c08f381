/** A daemon of the host with its output in a file: started, waited for until it answers, stopped by its pid. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { until } from '../support/wait.ts';

export interface DaemonPlan {
  /** Program and arguments. It must not fork into the background. */
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly answers: () => Promise<boolean>;
}

export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #plan: DaemonPlan;
  #ended = false;

  /** @throws Error with the end of its log when it ends or does not answer in time */
  static async start(plan: DaemonPlan): Promise<Daemon> {
    const daemon = new Daemon(plan);
    try {
      await until(async () => daemon.#ended || (await plan.answers()), 'it answers', 60_000);
      if (daemon.#ended) throw new Error('it ended');
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw new Error(
        `${daemon.#name}: ${(error as Error).message}; its log ends with:\n${daemon.#lastLines()}`,
      );
    }
  }

  private constructor(plan: DaemonPlan) {
    this.#plan = plan;
    const log = openSync(plan.logFile, 'a');
    const [file, ...args] = plan.command;
    this.#child = spawn(file, args, { env: plan.env, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child.on('exit', () => {
      this.#ended = true;
    });
    this.#child.on('error', () => {
      this.#ended = true;
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGTERM, and SIGKILL for one that does not go. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGTERM');
    try {
      await until(() => this.#ended, `${this.#name} has ended`, 30_000);
    } catch (error) {
      this.#child.kill('SIGKILL');
      throw error;
    }
  }

  get #name(): string {
    return this.#plan.command.join(' ');
  }

  #lastLines(): string {
    return readFileSync(this.#plan.logFile, 'utf8').split('\n').slice(-15).join('\n');
  }
}
