/** What holds after each step of a story, and at its end. */
import { checkNothingMissing } from './bytes.ts';
import type { Attachment } from './engine.ts';
import { type Heard, PIPE_BYTES, type Program } from './program.ts';
import type { World } from './world.ts';

/** The largest piece that an engine writes at a time: a Writable takes one beyond its buffer. */
export const MAX_WRITE_BYTES = 3000;
/** Rounds of reading and moving in which nothing happens before a story counts as stuck. */
const IDLE_ROUNDS = 4;

/** After each step. The content of what was read is checked where it is read (bytes.ts). */
export async function check(world: World): Promise<void> {
  const faults = [...world.faults, ...world.watch.faults];
  if (faults.length > 0) throw new Error(`rules were broken: ${faults.join('; ')}`);
  world.watch.checkQueues(world.unreadClients);
  world.calls.check();
  for (const [index, owners] of world.owners.entries()) {
    const program = world.programs[index] as Program;
    for (const attachment of owners) {
      for (const output of attachment.outputs) output.gapsAllowed = program.input.gapsAllowed;
      mayFailOnlyByTakeover(attachment, owners);
      bounded(world, attachment, program);
      if (attachment.result !== undefined && program.ending === undefined) {
        throw new Error(`an exit was reported of program ${index}, which runs`);
      }
      await exitAfterTheLastByte(world, attachment, program);
    }
    heard(program, owners);
  }
}

function mayFailOnlyByTakeover({ failure, client, program }: Attachment, owners: Attachment[]): void {
  if (failure === undefined || client.crashed) return;
  if (owners.length > 1 && (failure.code === 'aborted' || failure.code === 'data_loss')) return;
  throw new Error(`${client.name} lost program ${program.index}: ${failure.message}`);
}

/** What is under way of a stream fits into the buffers that docs/limits.md names, whoever is stuck. */
function bounded({ setting }: World, attachment: Attachment, program: Program): void {
  const { windowBytes, agentWindowBytes, bufferBytes } = setting;
  for (const stream of [0, 1]) {
    const read = attachment.outputs[stream]?.end;
    if (!attachment.live || program.input.gapsAllowed || read === undefined || attachment.stopped[stream])
      continue;
    // The pipe; what the agent keeps; what the Readable takes, which is one piece too many; what waits for it.
    const most = PIPE_BYTES + agentWindowBytes + bufferBytes + windowBytes + windowBytes;
    const underWay = (program.written[stream] as number) - read;
    if (underWay > most) throw new Error(`${underWay} bytes of an output are under way, ${most} are allowed`);
  }
  if (attachment.inputBroken || program.input.gapsAllowed || !attachment.live) return;
  if (program.closedInput || program.ending !== undefined) return;
  const underWay = attachment.inputWritten - (program.input.counts[attachment.owner] as number);
  const most = bufferBytes + MAX_WRITE_BYTES + windowBytes + agentWindowBytes + PIPE_BYTES;
  if (underWay > most) throw new Error(`${underWay} bytes of stdin are under way, ${most} are allowed`);
}

/** When the exit is reported, all output is with this client: it can be read although nothing moves any more. */
async function exitAfterTheLastByte(world: World, attachment: Attachment, program: Program): Promise<void> {
  if (attachment.result === undefined || !attachment.live) return;
  for (const stream of [0, 1]) {
    if (attachment.stopped[stream] || attachment.ended[stream]) continue;
    for (let idle = 0; idle < 2 && !attachment.ended[stream]; ) {
      idle = attachment.read(stream, Number.MAX_SAFE_INTEGER) ? 0 : idle + 1;
      await world.settle();
    }
    if (!attachment.ended[stream]) throw new Error('the exit was reported before the last byte');
    if (!program.broken[stream]) attachment.outputs[stream]?.finish(program.written[stream] as number);
  }
}

/** Signals and sizes come in order and once; of sizes that wait only the last one counts. */
function heard({ process, index, input }: Program, owners: readonly Attachment[]): void {
  // Two that may both say something are told apart by their numbers only.
  if (input.gapsAllowed) {
    for (const owner of owners) heardInOrder(process.heard, owner);
    return;
  }
  const said = owners.flatMap((owner) => owner.said.map((what) => ({ ...what, owner })));
  let at = 0;
  for (const { kind, value } of process.heard) {
    while (at < said.length && !(said[at]?.kind === kind && said[at]?.value === value)) {
      const skipped = said[at];
      const overtaken = skipped?.kind === 'resize' && said[at + 1]?.kind === 'resize';
      const lost = skipped?.owner !== owners.at(-1);
      if (!overtaken && !lost)
        throw new Error(`program ${index} did not hear ${skipped?.kind} ${skipped?.value}`);
      at++;
    }
    if (at === said.length)
      throw new Error(`program ${index} heard ${kind} ${value}, which nobody said then`);
    at++;
  }
}

function heardInOrder(all: readonly Heard[], { owner, program }: Attachment): void {
  let last = -1;
  for (const { kind, value } of all) {
    if (kind !== 'resize' || Math.floor(value / 1000) !== owner) continue;
    if (value <= last) throw new Error(`program ${program.index} heard resize ${value} after ${last}`);
    last = value;
  }
}

/** The end of every story: everybody reads, no fault comes any more, and all must come through. */
export async function conclude(world: World): Promise<void> {
  await untilNothingMoves(world);
  for (const [index, owners] of world.owners.entries()) {
    if (owners.every((owner) => !owner.live)) world.takeOver(index, true, 0);
  }
  await untilNothingMoves(world);
  for (const program of world.programs) {
    const owner = lastOwner(world, program);
    owner.write(1);
  }
  await untilNothingMoves(world);
  for (const program of world.programs) allThrough(world, program);

  for (const program of world.programs) {
    lastOwner(world, program).endInput();
  }
  await untilNothingMoves(world);
  for (const program of world.programs) {
    const owner = lastOwner(world, program);
    const expected = program.kind.stdin && !program.kind.terminal && program.ending === undefined;
    if (expected && !program.closedInput && !owner.inputBroken && !program.inputEnded) {
      throw new Error(`the end of stdin has not reached program ${program.index}`);
    }
    program.exit('exits with 42', false);
  }
  await untilNothingMoves(world);
  for (const program of world.programs) {
    ended(lastOwner(world, program));
    togetherGotAll(program, world.owners[program.index] as Attachment[]);
  }
  const { unanswered } = world.calls;
  if (unanswered.length > 0) throw new Error(`never answered: ${unanswered.join(', ')}`);
}

function lastOwner(world: World, program: Program): Attachment {
  const live = (world.owners[program.index] as Attachment[]).filter((owner) => owner.live);
  // Who has heard of the exit owns nothing any more.
  const owning = live.filter((owner) => owner.result === undefined);
  const owner = owning[0] ?? live.at(-1);
  if (owner === undefined || owning.length > 1) {
    throw new Error(`program ${program.index} has ${owning.length} owners at the end`);
  }
  return owner;
}

async function untilNothingMoves(world: World): Promise<void> {
  for (let idle = 0; idle < IDLE_ROUNDS; ) {
    const moved = await world.moveAll();
    const worked = world.calls.finish();
    const read = world.readAll();
    await world.settle();
    world.link.agentLooks();
    world.passTime(600);
    await world.settle();
    await check(world);
    idle = moved || worked || read ? 0 : idle + 1;
  }
}

function allThrough(world: World, program: Program): void {
  const owner = lastOwner(world, program);
  for (const stream of [0, 1]) {
    if (owner.stopped[stream] || program.broken[stream] || program.ending !== undefined) continue;
    if (owner.outputs[stream]?.start === undefined) continue;
    owner.outputs[stream]?.finish(program.written[stream] as number);
  }
  if (program.ending !== undefined) return;
  const last = owner.said.at(-1);
  const got = program.process.heard.at(-1);
  const alone = !program.input.gapsAllowed;
  if (alone && last !== undefined && (got?.kind !== last.kind || got.value !== last.value)) {
    throw new Error(`program ${program.index} did not hear the last ${last.kind} ${last.value}`);
  }
  if (!program.kind.stdin || program.closedInput || program.input.gapsAllowed) return;
  const owners = world.owners[program.index] as Attachment[];
  const endedByAnother = owners.some((other) => other !== owner && other.inputEnded);
  if (owner.inputBroken) {
    if (!endedByAnother)
      throw new Error(`stdin of program ${program.index} is closed, and nobody has closed it`);
    return;
  }
  // What was written, and ended, before that was known is lost as in a pipe whose reader has gone. A terminal stays open.
  if (endedByAnother && (program.inputEnded || program.kind.terminal)) return;
  const count = program.input.counts[owner.owner];
  if (count !== owner.inputWritten) {
    throw new Error(`${count} of ${owner.inputWritten} bytes of stdin have come to program ${program.index}`);
  }
}

/**
 * Owners that were replaced, killed or before they knew. What the former one has read and not told may be given to the
 * next as well (docs/protocol.md, section 4); nothing may be given to none.
 */
function togetherGotAll(program: Program, owners: readonly Attachment[]): void {
  for (const stream of [0, 1]) {
    if (program.broken[stream] || owners.some(({ stopped }) => stopped[stream])) continue;
    const written = program.written[stream] as number;
    const checks = owners.flatMap(({ outputs }) => outputs[stream] ?? []);
    for (const { outputs, client, live } of owners) {
      if (live || (!client.crashed && program.input.gapsAllowed)) outputs[stream]?.finish(written);
    }
    checkNothingMissing(checks, written);
  }
}

function ended({ program, result, client, stopped, ended: ends }: Attachment): void {
  if (result === undefined)
    throw new Error(`${client.name} never heard of the exit of program ${program.index}`);
  const expected = { 'exits with 42': 42, 'is killed by SIGTERM': 143, 'is out of memory': 137 };
  const cause = {
    'exits with 42': 'exited',
    'is killed by SIGTERM': 'signalled',
    'is out of memory': 'out_of_memory',
  };
  const ending = program.ending ?? 'exits with 42';
  if (result.code !== expected[ending] || result.cause !== cause[ending]) {
    throw new Error(
      `program ${program.index} ${ending}, but ${result.cause} with ${result.code} was reported`,
    );
  }
  for (const stream of [0, 1]) {
    if (!stopped[stream] && !ends[stream])
      throw new Error(`an output of program ${program.index} never ended`);
  }
}
