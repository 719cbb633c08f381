/**
 * The stream contract, walked at random through the product's own parts: clients that run programs in a guest, a
 * proxy that may be killed at any byte, a link that remembers bytes of connections long gone. Whatever the story,
 * every byte that was written is read once and in order, an exit is reported after the last byte, a request takes
 * effect once, nothing waits for ever, and what is under way stays within the windows.
 *
 * MODEL_RUNS says how many stories, MODEL_SEED repeats a run, and with MODEL_PATH its shortest story alone. The pure
 * streams have a faster model of their own, packages/wire/src/streams.model.test.ts, with windows of a few bytes.
 */
import * as fc from 'fast-check';
import { afterEach, beforeEach, it, vi } from 'vitest';
import { check, conclude } from './contract.ts';
import { anyEvent, anySetting, type Event, happen, tell } from './story.ts';
import { watchProxies } from './switch-watch.ts';
import { type Setting, World } from './world.ts';

const RUNS = Number(process.env.MODEL_RUNS ?? 3000);

// As small as the stories: a proxy that reads on, or keeps more than the windows allow, is to be seen.
vi.mock('../../packages/proxy/src/limits.ts', async (original) => ({
  ...(await original<object>()),
  MAX_CLIENT_QUEUE_BYTES: 48 * 1024,
  MAX_SANDBOX_QUEUE_BYTES: 96 * 1024,
  MAX_HOST_QUEUE_BYTES: 96 * 1024,
  MAX_INBOUND_BYTES: 4096,
  MAX_INBOUND_CONTROL_BYTES: 1024,
  MAX_HOST_INBOUND_BYTES: 8192,
  INBOUND_SHARE_BYTES: 512,
}));

// The clock goes on only when the story says so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  watchProxies();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

async function play(setting: Setting, events: readonly Event[]): Promise<void> {
  const world = new World(setting);
  try {
    await world.settle();
    for (const event of events) {
      await happen(world, event);
      await check(world);
    }
    await conclude(world);
  } finally {
    await world.dispose();
  }
}

it('every story ends well', { timeout: 24 * 3600_000 }, async () => {
  const property = fc.asyncProperty(anySetting, fc.array(anyEvent, { maxLength: 60, size: 'max' }), play);
  const run = await fc.check(property, {
    numRuns: RUNS,
    ...(process.env.MODEL_PATH ? { path: process.env.MODEL_PATH, endOnFailure: true } : {}),
    ...(process.env.MODEL_SEED ? { seed: Number(process.env.MODEL_SEED) } : {}),
  });
  console.log(`${run.numRuns} stories, seed ${run.seed}`);
  if (!run.failed) return;
  const [setting, events] = run.counterexample as [Setting, Event[]];
  const cause = run.errorInstance as Error;
  throw new Error(
    `${cause?.message}\nin story ${run.numRuns}, shrunk ${run.numShrinks} times (MODEL_SEED=${run.seed} MODEL_PATH=${run.counterexamplePath}):\n${tell(setting, events)}`,
    { cause },
  );
});
