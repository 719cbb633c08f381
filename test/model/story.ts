/** Stories: what may happen, how often, what it does to the world, and how it is told. */
import * as fc from 'fast-check';
import { MAX_WRITE_BYTES } from './contract.ts';
import type { Client } from './engine.ts';
import type { Ending, Program } from './program.ts';
import type { Setting, World } from './world.ts';

interface Happening {
  readonly weight: number;
  /** In words; `who` and `n` are told in front and behind. */
  act(world: World, event: Event): unknown;
  tell(event: Event): string;
}

/** The numbers mean what the happening makes of them, so that every story stays one when it is shrunk. */
export interface Event {
  readonly kind: string;
  readonly who: number;
  readonly bytes: number;
  readonly flag: boolean;
}

const program = (world: World, { who }: Event): Program =>
  world.programs[who % world.programs.length] as Program;
const owner = (world: World, event: Event) => world.owner(event.who % world.programs.length);
const client = (world: World, { who }: Event): Client => world.clients[who % world.clients.length] as Client;
const stream = ({ flag }: Event): number => (flag ? 1 : 0);
const outputName = (event: Event): string => (event.flag ? 'stderr' : 'stdout');
const pieceOf = ({ bytes }: Event): number => 1 + (bytes % MAX_WRITE_BYTES);
const endings: readonly Ending[] = ['exits with 42', 'is killed by SIGTERM', 'is out of memory'];
const endingOf = ({ bytes }: Event): Ending => endings[bytes % endings.length] as Ending;
/** Connections lose what is under way behind the first few bytes, or nothing of it. */
const kept = ({ bytes, flag }: Event): number => (flag ? Number.POSITIVE_INFINITY : bytes);
const keptText = (event: Event): string => (event.flag ? 'all' : `the first ${event.bytes} bytes`);

export const happenings: Readonly<Record<string, Happening>> = {
  'program writes': {
    weight: 6,
    act: (world, event) => program(world, event).write(stream(event), pieceOf(event)),
    tell: (event) => `program ${event.who} writes ${pieceOf(event)} bytes to ${outputName(event)}`,
  },
  'program floods': {
    weight: 1,
    act: async (world, event) => {
      for (let i = 0; i < 4; i++) {
        program(world, event).write(stream(event), MAX_WRITE_BYTES);
        await world.moveAll();
      }
    },
    tell: (event) =>
      `program ${event.who} writes ${MAX_WRITE_BYTES} bytes to ${outputName(event)} four times, as long as there is room, and everything arrives`,
  },
  'program reads': {
    weight: 3,
    act: (world, event) => program(world, event).read(event.bytes),
    tell: (event) => `program ${event.who} reads up to ${event.bytes} bytes of stdin`,
  },
  'program closes stdin': {
    weight: 1,
    act: (world, event) => program(world, event).closeInput(),
    tell: (event) => `program ${event.who} closes its stdin`,
  },
  'program ends': {
    weight: 2,
    act: (world, event) => program(world, event).exit(endingOf(event), event.flag),
    tell: (event) =>
      `program ${event.who} ${endingOf(event)}${event.flag ? ' and leaves a grandchild with its stdout' : ''}`,
  },
  'grandchild writes': {
    weight: 1,
    act: (world, event) => program(world, event).grandchildWrites(pieceOf(event)),
    tell: (event) => `the grandchild of program ${event.who} writes ${pieceOf(event)} bytes, if there is one`,
  },
  'engine writes': {
    weight: 5,
    act: (world, event) => owner(world, event).write(pieceOf(event)),
    tell: (event) => `the engine of program ${event.who} writes ${pieceOf(event)} bytes of stdin`,
  },
  'engine floods stdin': {
    weight: 1,
    act: async (world, event) => {
      for (let i = 0; i < 4; i++) {
        owner(world, event).write(MAX_WRITE_BYTES);
        await world.moveAll();
      }
    },
    tell: (event) =>
      `the engine of program ${event.who} writes ${MAX_WRITE_BYTES} bytes of stdin four times, as long as there is room, and everything arrives`,
  },
  'engine ends stdin': {
    weight: 1,
    act: (world, event) => owner(world, event).endInput(),
    tell: (event) => `the engine of program ${event.who} ends its stdin`,
  },
  'engine reads': {
    weight: 5,
    act: (world, event) => owner(world, event).read(stream(event), pieceOf(event)),
    tell: (event) =>
      `the engine of program ${event.who} reads up to ${pieceOf(event)} bytes of ${outputName(event)}`,
  },
  'engine stops reading': {
    weight: 2,
    act: (world, event) => owner(world, event).stop(stream(event)),
    tell: (event) => `the engine of program ${event.who} closes its ${outputName(event)}`,
  },
  'user types': {
    weight: 2,
    act: (world, event) => {
      const who = owner(world, event);
      for (let i = 0; i <= event.bytes % 3; i++) {
        // The numbers tell owners apart.
        const value = 1 + 16 * who.owner + (who.said.length % 16);
        who.say(
          event.flag
            ? { kind: 'signal', value }
            : { kind: 'resize', value: who.owner * 1000 + who.said.length },
        );
      }
    },
    tell: (event) =>
      `the user of program ${event.who} sends ${1 + (event.bytes % 3)} ${event.flag ? 'signals' : 'sizes'}`,
  },
  'client asks for a change': {
    weight: 2,
    act: (world, event) => {
      const who = client(world, event);
      if (!who.crashed) world.calls.change(who, event.flag ? 40_000 : event.bytes % 100);
    },
    tell: (event) => `client ${event.who} asks for a change${event.flag ? ' with 40,000 bytes' : ''}`,
  },
  'client waits': {
    weight: 1,
    act: (world, event) => {
      const who = client(world, event);
      if (!who.crashed) world.calls.wait(who, program(world, event));
    },
    tell: (event) => `client ${event.who} waits for the exit of a program`,
  },
  'agent works': {
    weight: 2,
    act: (world) => world.calls.finish(),
    tell: () => 'the agent finishes what it was asked for',
  },
  'bytes reach the proxy': {
    weight: 6,
    act: (world, event) => world.moveToProxy(client(world, event), event.bytes),
    tell: (event) => `up to ${event.bytes} bytes of client ${event.who} reach the proxy`,
  },
  'bytes reach the client': {
    weight: 6,
    act: (world, event) => world.moveToClient(client(world, event), event.bytes),
    tell: (event) => `up to ${event.bytes} bytes reach client ${event.who}`,
  },
  'bytes reach the agent': {
    weight: 8,
    act: (world, event) => world.link.toAgent(event.bytes),
    tell: (event) => `up to ${event.bytes} bytes reach the agent`,
  },
  'bytes leave the agent': {
    weight: 8,
    act: (world, event) => world.link.toProxy(event.bytes),
    tell: (event) => `up to ${event.bytes} bytes of the agent reach the proxy`,
  },
  'everything moves': {
    weight: 10,
    act: (world) => world.moveAll(),
    tell: () => 'everything that is under way arrives',
  },
  'time passes': {
    weight: 4,
    act: (world, event) => world.passTime(event.bytes % 2000),
    tell: (event) => `${event.bytes % 2000} ms pass`,
  },
  'client connection is cut': {
    weight: 2,
    act: (world, event) => world.cutClient(client(world, event), kept(event)),
    tell: (event) =>
      `the connection of client ${event.who} is cut, ${keptText(event)} of what is under way still arrive`,
  },
  'proxy is killed': {
    weight: 3,
    act: (world, event) => world.killProxy(kept(event)),
    tell: (event) => `the proxy is killed, ${keptText(event)} of what it had written still arrive`,
  },
  'proxy is killed in mid-frame': {
    weight: 2,
    act: async (world, event) => {
      const { client: who } = owner(world, event);
      owner(world, event).write(MAX_WRITE_BYTES);
      program(world, event).write(stream(event), MAX_WRITE_BYTES);
      await world.settle();
      while (world.moveToProxy(who, MAX_WRITE_BYTES)) await world.settle();
      world.killProxy(event.bytes % MAX_WRITE_BYTES);
    },
    tell: (event) =>
      `program ${event.who} and its engine write ${MAX_WRITE_BYTES} bytes; when the proxy has got the engine's it is killed, and the first ${event.bytes % MAX_WRITE_BYTES} bytes of what it had written still arrive`,
  },
  'link is cut': {
    weight: 2,
    act: (world, event) => world.link.cut(kept(event)),
    tell: (event) => `the link is cut, ${keptText(event)} of what is under way still arrive`,
  },
  'agent looks': {
    weight: 2,
    act: (world) => world.link.agentLooks(),
    tell: () => 'the agent looks whether its host is there',
  },
  'agent reopens': {
    weight: 1,
    act: (world, event) => world.link.agentReopens(event.bytes),
    tell: (event) =>
      `the agent closes the link and opens it again; ${event.bytes} bytes for it are thrown away`,
  },
  'another client takes over': {
    weight: 1,
    act: (world, event) => world.takeOver(event.who % world.programs.length, event.flag, event.bytes),
    tell: (event) =>
      `another client takes program ${event.who} over; the former one ${event.flag ? 'was killed' : 'has yet to hear of it'}`,
  },
};

const anyBytes = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 100 }) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 6000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 50_000 }) },
);

export const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  ...Object.entries(happenings).map(([kind, { weight }]) => ({
    weight,
    arbitrary: fc.record({ kind: fc.constant(kind), who: fc.nat(2), bytes: anyBytes, flag: fc.boolean() }),
  })),
);

/** A sender must keep at least a quarter of its receiver's window: docs/protocol.md, section 3, rule 3. */
export const anySetting: fc.Arbitrary<Setting> = fc.record({
  transport: fc.constantFrom('socket', 'port'),
  windowBytes: fc.constantFrom(1000, 3000, 4000),
  agentWindowBytes: fc.constantFrom(1000, 4000),
  bufferBytes: fc.constantFrom(1, 3000),
  clients: fc.integer({ min: 1, max: 2 }),
  programs: fc.array(
    fc.record({
      terminal: fc.boolean(),
      stdin: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.boolean()),
    }),
    { minLength: 1, maxLength: 3 },
  ),
});

export async function happen(world: World, event: Event): Promise<void> {
  await happenings[event.kind]?.act(world, event);
  await world.settle();
}

/** A story to read. */
export function tell(setting: Setting, events: readonly Event[]): string {
  const programs = setting.programs
    .map(
      ({ terminal, stdin }, index) =>
        `${index}${terminal ? ' with a terminal' : ''}${stdin ? '' : ' without stdin'}`,
    )
    .join(', ');
  const lines = events.map(
    (event, index) => `  ${String(index + 1).padStart(2)}. ${happenings[event.kind]?.tell(event)}`,
  );
  return [
    `Over a ${setting.transport} with windows of ${setting.windowBytes} bytes at clients and ${setting.agentWindowBytes} at the agent, and buffers of ${setting.bufferBytes}:`,
    `${setting.clients} client(s), programs ${programs} (numbers of clients and programs are taken modulo their count).`,
    ...lines,
    `  ${String(events.length + 1).padStart(2)}. no fault comes any more, and everybody reads`,
  ].join('\n');
}
