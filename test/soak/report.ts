/** Counts of what was done and what was wrong; the line while it runs, and the summary at its end. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkout } from '../contract/place.ts';
import { mib, type Watched } from './observe.ts';

const SHOWN_FAILURES = 30;

interface Kind {
  count: number;
  slowestMs: number;
  totalMs: number;
}

export class Report {
  readonly seed: number;
  readonly failures: string[] = [];
  readonly #kinds = new Map<string, Kind>();
  readonly #startedAt = performance.now();
  readonly #json: boolean;

  constructor(options: { seed: number; json: boolean }) {
    this.seed = options.seed;
    this.#json = options.json;
  }

  get operations(): number {
    return [...this.#kinds.values()].reduce((sum, { count }) => sum + count, 0);
  }

  done(name: string, tookMs: number): void {
    const kind = this.#kinds.get(name) ?? { count: 0, slowestMs: 0, totalMs: 0 };
    kind.count++;
    kind.totalMs += tookMs;
    kind.slowestMs = Math.max(kind.slowestMs, tookMs);
    this.#kinds.set(name, kind);
  }

  /** Said at once, since a long run should not hide it. */
  failed(story: string): void {
    this.failures.push(story);
    this.say(`FAILED after ${this.#elapsed()}, seed ${this.seed}: ${story}`);
  }

  say(text: string): void {
    if (!this.#json) process.stdout.write(`${text}\n`);
  }

  status(phase: string, watched: readonly Watched[]): void {
    const of = (one: Watched) =>
      `${one.name} ${mib(one.bytes)}${one.descriptors === undefined ? '' : ` ${one.descriptors} fds`}`;
    this.say(
      `${this.#elapsed()} ${phase}: ${this.operations} operations, ${this.failures.length} failed | ${watched.map(of).join(' | ')}`,
    );
  }

  /** @returns whether all was well */
  close(watched: readonly Watched[], what: string): boolean {
    const ok = this.failures.length === 0;
    const took = this.#elapsed();
    const rows = [...this.#kinds].sort(([a], [b]) => a.localeCompare(b));
    const kinds = rows.map(
      ([name, { count, totalMs, slowestMs }]) =>
        `  ${name.padEnd(52)}${String(count).padStart(8)}${(totalMs / count).toFixed(0).padStart(10)}${slowestMs.toFixed(0).padStart(10)}`,
    );
    const holders = watched.map((one) => {
      const { plateaus, atStart, atEnd } = one;
      const memory = plateaus === undefined ? 'too short' : `${mib(plateaus.second)} → ${mib(plateaus.last)}`;
      const descriptors = atStart === undefined ? '–' : `${atStart} → ${atEnd}`;
      return `  ${one.name.padEnd(30)}${memory.padStart(28)}${descriptors.padStart(14)}`;
    });
    const text = [
      `soak: ${what}, seed ${this.seed}, ${took}, ${this.operations} operations, ${this.failures.length} failures`,
      '',
      `  ${'operation'.padEnd(52)}${'count'.padStart(8)}${'mean ms'.padStart(10)}${'slowest'.padStart(10)}`,
      ...kinds,
      '',
      `  ${'held by'.padEnd(30)}${'memory, 2nd → 4th quarter'.padStart(28)}${'descriptors'.padStart(14)}`,
      ...holders,
      '',
      ...this.failures.slice(0, SHOWN_FAILURES).map((story) => `  failed: ${story}`),
      ...(this.failures.length > SHOWN_FAILURES ? ['  … summary.json has them all'] : []),
      ok ? 'Nothing was lost, doubled or left behind.' : 'FAILED',
      '',
    ].join('\n');
    const json = {
      what,
      seed: this.seed,
      ok,
      seconds: (performance.now() - this.#startedAt) / 1000,
      operations: Object.fromEntries(rows),
      held: watched.map(({ name, plateaus, atStart, atEnd }) => ({ name, plateaus, atStart, atEnd })),
      failures: this.failures,
    };
    const folder = join(checkout, 'out/soak');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'summary.txt'), text);
    writeFileSync(join(folder, 'summary.json'), `${JSON.stringify(json, null, 2)}\n`);
    process.stdout.write(this.#json ? `${JSON.stringify(json)}\n` : `\n${text}`);
    return ok;
  }

  #elapsed(): string {
    const seconds = Math.floor((performance.now() - this.#startedAt) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  }
}
