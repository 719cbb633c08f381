/**
 * The stream contract as a model: a process and a client, a switch between them that may die at any moment
 * with all it holds, and random stories of what happens. Whatever the story, the bytes that are read are
 * the bytes that were written, buffers stay within the window, and once everything is connected and read,
 * everything ends.
 */
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { AgentEnd, ClientEnd, Lane, type Sink, type Sizes, type Source } from './testing/endpoints.ts';

const few = fc.integer({ min: 1, max: 4 });
const some = fc.integer({ min: 1, max: 150 });

const anyEvent = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('process writes'), bytes: some }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('engine writes stdin'), bytes: some }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('user resizes'), times: few }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('agent sends'), times: few }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('client sends'), times: few }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('frames reach the client'), times: few }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('frames reach the agent'), times: few }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('engine reads stdout'), bytes: some }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('process reads stdin'), bytes: some }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('switch dies'), agentNotices: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('client attaches') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('another client takes over') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('control overtakes'), frames: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('engine closes stdin') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('engine stops reading stdout') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('process closes stdin') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('process exits') }) },
);

interface Event {
  do: string;
  bytes?: number;
  times?: number;
  frames?: number;
  agentNotices?: boolean;
}

class World {
  readonly #sizes: Sizes;
  readonly #toAgent = new Lane();
  readonly #toClient = new Lane();
  readonly #agent: AgentEnd;
  #client: ClientEnd;
  /** False between the death of a switch and the client's next connection. */
  #linked = true;
  #generation = 0;
  /** What clients before the present one got into the process's stdin and control stream. */
  #earlierStdin: number[] = [];
  #earlierControl: number[] = [];
  #stdinEnded = false;
  #marks = new Map<string, number>();

  constructor(sizes: Sizes) {
    this.#sizes = sizes;
    this.#agent = new AgentEnd(this.#toClient, sizes);
    this.#client = new ClientEnd(this.#toAgent, sizes);
  }

  happens(event: Event): void {
    const { bytes = 0, times = 0 } = event;
    const repeat = (action: () => unknown): void => {
      for (let i = 0; i < times; i++) action();
    };
    const table: Record<string, () => void> = {
      'process writes': () => this.#agent.stdout.write(bytes),
      'engine writes stdin': () => this.#client.stdin.write(bytes),
      'user resizes': () => this.#client.control.write(8 * times),
      'agent sends': () => repeat(() => this.#agent.pull()),
      'client sends': () => repeat(() => this.#client.pull()),
      'frames reach the client': () => repeat(() => this.#arrive(this.#toClient, this.#client)),
      'frames reach the agent': () => repeat(() => this.#arrive(this.#toAgent, this.#agent)),
      'engine reads stdout': () => this.#client.readStdout(bytes),
      'process reads stdin': () => this.#agent.readStdin(bytes),
      'switch dies': () => this.#die(event.agentNotices ?? true),
      'client attaches': () => this.#attach(),
      'another client takes over': () => this.#takeOver(),
      'control overtakes': () => {
        this.#agent.overtake = this.#client.overtake = event.frames ?? 0;
      },
      'engine closes stdin': () => this.#client.stdin.end(),
      'engine stops reading stdout': () => this.#client.stopStdout(),
      'process closes stdin': () => this.#agent.stopStdin(),
      'process exits': () => this.#agent.exit(),
    };
    (table[event.do] as () => void)();
    // Between links what is sent goes nowhere.
    if (!this.#linked) this.#lose();
    this.check();
  }

  #lose(): void {
    this.#toAgent.lose();
    this.#toClient.lose();
  }

  #die(agentNotices: boolean): void {
    this.#linked = false;
    this.#lose();
    this.#client.detach();
    if (agentNotices) this.#agent.detach();
  }

  #attach(): void {
    if (!this.#linked) {
      this.#agent.detach();
      this.#linked = true;
    }
    this.#client.attach(++this.#generation);
  }

  /** The client has gone and another has the token. It begins with empty hands. */
  #takeOver(): void {
    // How far the former one got is told by the agent's answer; until that is known it can't be compared.
    if (!this.#client.attached) return;
    const { stdin, control } = this.#agent;
    this.#earlierStdin = this.#stdinSoFar().slice(0, stdin.stream.expected);
    this.#stdinEnded ||= stdin.stream.final === stdin.stream.expected;
    this.#earlierControl = this.#controlSoFar().slice(0, control.stream.expected);
    this.#die(true);
    this.#client = new ClientEnd(this.#toAgent, this.#sizes);
    for (const name of ['stdout delivered', 'stdin base', 'control base']) this.#marks.delete(name);
    this.#attach();
  }

  #stdinSoFar(): number[] {
    // Once a client has ended stdin, no other can write to it.
    return this.#stdinEnded ? this.#earlierStdin : [...this.#earlierStdin, ...this.#client.stdin.written];
  }
  #controlSoFar(): number[] {
    return [...this.#earlierControl, ...this.#client.control.written];
  }

  #arrive(lane: Lane, end: AgentEnd | ClientEnd): boolean {
    const frame = lane.shift();
    if (frame === undefined) return false;
    end.handle(frame);
    return true;
  }

  check(): void {
    const { stdin, control, stdout } = this.#agent;
    const client = this.#client;
    isPrefix(client.stdout.read, stdout.written.slice(client.stdoutOrigin ?? 0), 'stdout');
    isPrefix(stdin.read, this.#stdinSoFar(), 'stdin');
    isPrefix(control.read, this.#controlSoFar(), 'control');
    this.#neverBack('stdout delivered', client.stdout.stream.delivered);
    this.#neverBack('stdin delivered', stdin.stream.delivered);
    this.#neverBack('control delivered', control.stream.delivered);
    this.#neverBack('stdout base', stdout.stream.base);
    if (client.stdinOrigin !== undefined) {
      this.#neverBack('stdin base', client.stdin.stream.base);
      this.#neverBack('control base', client.control.stream.base);
    }
    bounded(stdout, this.#sizes.retentionBytes);
    bounded(client.stdin, this.#sizes.retentionBytes);
    for (const sink of [client.stdout, stdin]) {
      if (!sink.stream.stopped) expect(sink.held).toBeLessThanOrEqual(this.#sizes.windowBytes);
      expect(sink.stream.delivered).toBeLessThanOrEqual(sink.stream.expected);
    }
  }

  #neverBack(name: string, value: number): void {
    const before = this.#marks.get(name) ?? 0;
    if (value < before) throw new Error(`${name} went back from ${before} to ${value}`);
    this.#marks.set(name, value);
  }

  /** Everybody reads, everything is forwarded, until nothing moves. */
  #settle(): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const step of [
        () => this.#agent.pull(),
        () => this.#client.pull(),
        () => this.#arrive(this.#toAgent, this.#agent),
        () => this.#arrive(this.#toClient, this.#client),
      ]) {
        while (step()) moved = true;
      }
      if (this.#client.stdout.held + this.#agent.stdin.held + this.#agent.control.held > 0) moved = true;
      this.#client.readStdout(1000);
      this.#agent.readStdin(1000);
      this.check();
    }
  }

  /** The end of every story: the client attaches a last time, and all must come through. */
  ends(): void {
    const agent = this.#agent;
    const client = this.#client;
    if (!client.attached || !this.#linked) this.#attach();
    this.#settle();
    this.#allThrough(agent.stdout, client.stdout, client.stdoutOrigin ?? 0);
    if (!this.#stdinEnded) this.#allThrough(client.stdin, agent.stdin, 0, this.#earlierStdin.length);
    this.#allThrough(client.control, agent.control, 0, this.#earlierControl.length);

    client.stdin.end();
    agent.exit();
    this.#settle();
    expect(client.exitAt, 'EXIT has come with the final offset').toBe(agent.stdout.stream.final);
    if (!agent.stdout.stream.stopped) expect(client.exitAt).toBe(agent.stdout.written.length);
    expect(client.stdout.stream.complete, 'all of stdout was delivered when the exit is reported').toBe(true);
    expect(agent.stdin.stream.complete, 'the end of stdin has reached the process').toBe(true);
    expect(agent.stdout.stream.done, 'the agent keeps nothing').toBe(true);
    expect(client.stdin.stream.done, 'the client keeps nothing').toBe(true);

    // A last re-attach after the end changes nothing.
    this.#attach();
    this.#settle();
    expect(client.stdout.stream.complete && agent.stdin.stream.complete).toBe(true);
  }

  #allThrough(source: Source, sink: Sink, skipped: number, earlier = 0): void {
    expect(source.unread, 'all bytes are read from the source').toBe(0);
    if (sink.stream.stopped || source.stream.stopped) return;
    expect(sink.read.length - earlier, 'all bytes that were written have been read').toBe(
      source.written.length - skipped,
    );
  }
}

function isPrefix(read: readonly number[], written: readonly number[], name: string): void {
  if (read.length > written.length)
    throw new Error(`${name}: ${read.length} bytes read, ${written.length} written`);
  const wrong = read.findIndex((byte, i) => byte !== written[i]);
  if (wrong >= 0) throw new Error(`${name}: byte ${wrong} is not the one that was written`);
}

function bounded(source: Source, retentionBytes: number): void {
  const { base, end, stopped } = source.stream;
  if (!stopped) expect(end - base).toBeLessThanOrEqual(retentionBytes);
}

it('bytes arrive once and in order, whoever dies in between', { timeout: 600_000 }, () => {
  const anySizes = fc.record({
    windowBytes: fc.constantFrom(4, 64, 100),
    // At least a quarter of the window, or the receiver never has a reason to say that it delivered.
    retentionBytes: fc.constantFrom(25, 64, 200),
  });
  const parameters = {
    numRuns: Number(process.env.MODEL_RUNS ?? 2000),
    ...(process.env.MODEL_SEED ? { seed: Number(process.env.MODEL_SEED) } : {}),
  };
  fc.assert(
    fc.property(anySizes, fc.array(anyEvent, { maxLength: 60, size: 'max' }), (sizes, story) => {
      const world = new World(sizes);
      for (const event of story) world.happens(event);
      world.ends();
    }),
    parameters,
  );
});
