/**
 * runc is the oracle: what a test says is done once with runc and once with Coracle, side by side; what both
 * printed, their exit codes, and what else was noted must be the same. Four forms, each row one line:
 *
 *   same(title, line)            a line of shell: its exit code, stdout and stderr
 *   shared(title, start, rows)   lines of shell that need the same container, which `start` has made
 *   looks(title, rows)           looks from inside one container, each with the options that it needs
 *   finds(title, rows)           the same by Coracle alone, with what is to be found: what runc cannot do here
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { AtTerminal, type Ended, type RunOptions } from '../support/program.ts';
import { inNamespaces, inside } from './world.ts';

export type Runtime = 'runc' | 'coracle';

/** How an engine's command line is used in lines of shell. */
export interface EngineWords {
  /** A run, up to what the test adds: $RUN. */
  readonly run: (runtime: Runtime, name: string) => string;
  /** A line that removes all whose name begins with $C. */
  readonly cleanUp: string;
}

export interface Compared extends RunOptions {
  /** A difference for which docs/compatibility.md has a line: what is made of a text before it is compared. */
  readonly except?: (text: string) => string;
}

export type Line = string | ((side: Side) => Promise<unknown>);

/** A line of shell in the container, and the engine's options that it wants. */
export type Look = readonly [title: string, options: string, script: string];

/** One of the two that are compared. */
export class Side implements AsyncDisposable {
  readonly world = inject('world');
  readonly runtime: Runtime;
  /** The beginning of names that no other side or test has, for containers, volumes and so on: $C. */
  readonly name: string;
  /** A folder of the host: $FOLDER. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly #engine: EngineWords;
  #notes: unknown[] = [];

  constructor(runtime: Runtime, number: number, engine: EngineWords) {
    this.runtime = runtime;
    this.#engine = engine;
    this.name = `t${number}-${process.pid}-${runtime}`;
    this.folder = join(this.world.folder, 'sides', this.name);
    mkdirSync(this.folder, { recursive: true });
    const run = engine.run(runtime, this.name);
    this.env = { RUNTIME: runtime, C: this.name, FOLDER: this.folder, RUN: run };
  }

  /** Runs a line of shell where the engines are, with the functions of prelude.sh. */
  sh(line: string, options: RunOptions = {}): Promise<Ended> {
    return inside(this.world, line, { ...options, env: { ...this.env, ...options.env } });
  }

  /** @throws Error with what it printed when it fails; for what a test needs and does not compare */
  async must(line: string, options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.sh(line, options);
    if (code !== 0) throw new Error(`${this.runtime}: ${line} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Runs a line at a terminal of its own for as long as `use` takes; what is left of it is hung up. */
  async atTerminal(
    line: string,
    size: { columns: number; rows: number },
    use: (terminal: AtTerminal) => Promise<void>,
  ): Promise<void> {
    const { world } = this;
    const [file, ...args] = inNamespaces(world, line);
    const terminal = new AtTerminal(file, args, { ...world.env, ...this.env }, size);
    try {
      await use(terminal);
    } catch (error) {
      throw new Error(`${this.runtime}: ${(error as Error).message}`, { cause: error });
    } finally {
      terminal.close();
    }
  }

  /** Something to be compared. */
  note(what: unknown): void {
    this.#notes.push(what);
  }

  /** What was noted since the last time, with this side's own names replaced. */
  takeNotes({ except }: Compared): unknown[] {
    const notes = JSON.stringify(this.#notes)
      .replaceAll(this.folder, 'FOLDER')
      .replaceAll(this.name, 'NAME')
      .replaceAll(/\b([0-9a-f]{64}|[0-9a-f]{12})\b/g, 'ID')
      // Docker's client says this of a start that failed, or does not, as its goroutines run.
      .replaceAll(
        /time=\\"[^"]*\\" level=error msg=\\"error waiting for container: context canceled\\"\\n/g,
        '',
      )
      .replaceAll(/time=\\"[^"]*\\"/g, 'time=NOW')
      // The first of these words is the runtime's name.
      .replaceAll('runc create failed: ', 'create failed: ');
    this.#notes = [];
    return JSON.parse(notes, (_, value) => (typeof value === 'string' ? (except?.(value) ?? value) : value));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.must(this.#engine.cleanUp);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const separator = '-- next --\n';
let pairs = 0;

/** One container for all rows. @returns what each has printed */
async function lookInside(
  side: Side,
  rows: readonly (readonly [...Look, ...unknown[]])[],
): Promise<string[]> {
  const script = rows.map(([, , line]) => `(${line}) 2>&1; echo "ended with $?"; echo '${separator.trim()}'`);
  const options = rows.map(([, own]) => own).join(' ');
  const env = { SCRIPT: script.join('\n') };
  side.note(await side.must(`$RUN --rm ${options} $IMAGE sh -c "$SCRIPT"`, { env }));
  return (side.takeNotes({})[0] as string).split(separator);
}

export function oracle(engine: EngineWords) {
  const bothSides = () => {
    const number = ++pairs;
    return [new Side('runc', number, engine), new Side('coracle', number, engine)] as const;
  };

  async function compare(sides: readonly Side[], line: Line, compared: Compared): Promise<void> {
    await Promise.all(
      sides.map(async (side) => {
        if (typeof line === 'string') side.note(await side.sh(line, compared));
        else await line(side);
      }),
    );
    const [runc, coracle] = sides.map((side) => side.takeNotes(compared));
    expect(coracle).toEqual(runc);
  }

  function same(title: string, line: Line, compared: Compared = {}): void {
    test(title, async () => {
      const [runc, coracle] = bothSides();
      await using _runc = runc;
      await using _coracle = coracle;
      await compare([runc, coracle], line, compared);
    });
  }

  function shared(
    title: string,
    start: string,
    rows: readonly (readonly [title: string, line: Line, compared?: Compared])[],
  ): void {
    describe(title, () => {
      let sides: readonly Side[] = [];
      beforeAll(async () => {
        sides = bothSides();
        await Promise.all(sides.map((side) => side.must(start)));
      });
      afterAll(async () => {
        for (const side of sides) await side[Symbol.asyncDispose]();
      });
      for (const [name, line, compared = {}] of rows) test(name, () => compare(sides, line, compared));
    });
  }

  function looks(title: string, rows: readonly Look[]): void {
    describe(title, () => {
      let [runc, coracle]: string[][] = [];
      beforeAll(async () => {
        [runc, coracle] = await Promise.all(
          bothSides().map(async (side) => {
            await using used = side;
            return await lookInside(used, rows);
          }),
        );
      });
      for (const [index, [name]] of rows.entries()) {
        test(name, () => {
          expect(runc![index]).toMatch(/ended with \d+\n$/);
          expect(coracle![index]).toBe(runc![index]);
        });
      }
    });
  }

  function finds(title: string, rows: readonly (readonly [...Look, expected: RegExp])[]): void {
    describe(title, () => {
      let found: string[];
      beforeAll(async () => {
        await using side = new Side('coracle', ++pairs, engine);
        found = await lookInside(side, rows);
      });
      for (const [index, [name, , , expected]] of rows.entries())
        test(name, () => expect(found[index]).toMatch(expected));
    });
  }

  return { same, shared, looks, finds };
}
