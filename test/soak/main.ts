/**
 * `make soak MINUTES=…`: random churn of sandboxes, containers, execs and faults. Every operation knows its result.
 * At the end descriptors, memory and processes are as they were. docs/testing.md says what each phase is for.
 *
 *   tsx test/soak/main.ts --minutes N [--driver local|qemu|both] [--seed S] [--json]
 */
import { parseArgs } from 'node:util';
import { type DriverName, MiB, Place, RandomFile, until, within } from '../contract/place.ts';
import { faults } from './faults.ts';
import { lives } from './lives.ts';
import { descriptorsOf, machine, proxyPid, settled, type Watched, watch, watchSelf } from './observe.ts';
import { operations, pause } from './operations.ts';
import { Random } from './random.ts';
import { Report } from './report.ts';
import { Tenant } from './tenant.ts';

/** Of the whole time; the rest is churn with faults. */
const CHURN_PART = 0.6;
/** For one operation: far more than any takes on a busy machine, so longer is stuck. */
const STUCK_MS = { local: 90_000, qemu: 240_000 } as const;
const SAMPLE_MS = 2_000;
const STATUS_MS = 15_000;

/** Ctrl-C ends the churn early; what was made is removed and judged all the same. A second one ends at once. */
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
});

/** Everything of one driver. */
interface Stage {
  readonly place: Place;
  readonly tenant: Tenant;
  readonly file: RandomFile;
  readonly workers: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      driver: { type: 'string', default: 'both' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
      json: { type: 'boolean', default: false },
    },
  });
  const { minutes, driver, seed, json } = values;
  if (!(Number(minutes) > 0) || !['local', 'qemu', 'both'].includes(driver) || !/^\d+$/.test(seed))
    throw new Error('usage: --minutes N [--driver local|qemu|both] [--seed S] [--json]');
  const report = new Report({ seed: Number(seed), json });
  const drivers: DriverName[] = driver === 'both' ? ['local', 'qemu'] : [driver as DriverName];
  report.say(`soak: ${minutes} minutes, driver ${driver}, seed ${seed}`);
  const watched = await soak(drivers, Number(minutes) * 60_000, report);
  process.exitCode = report.close(watched, `${minutes} minutes, driver ${driver}`) ? 0 : 1;
}

async function soak(drivers: readonly DriverName[], lengthMs: number, report: Report): Promise<Watched[]> {
  const random = new Random(report.seed);
  const places = drivers.map((driver) => new Place(driver));
  await rehearse();
  const client = watchSelf();
  [client.atStart] = await settled([client]);
  const handlesBefore = handles();
  const before = descriptorsOf(process.pid);
  const watched = [client];
  try {
    const stages: Stage[] = [];
    for (const place of places) {
      const file = new RandomFile(place, 4 * MiB);
      const tenant = await Tenant.start(place);
      stages.push({ place, tenant, file, workers: place.driver === 'local' ? 3 : 2 });
    }
    await phases(stages, lengthMs, { random, report, watched, client });
    for (const { tenant, place } of stages)
      await within(tenant[Symbol.asyncDispose](), STUCK_MS[place.driver], `${place.driver} is removed`);
    for (const place of places) await place.expectNothingLeft();
    await leftByProxies(places);
  } catch (error) {
    report.failed(`the soak itself: ${reason(error)}`);
  }
  for (const left of machine(places).filter((line) => !line.startsWith('folder')))
    report.failed(`left: ${left}`);
  for (const place of places) await place[Symbol.asyncDispose]();
  [client.atEnd] = await settled([client]);
  for (const left of machine(places)) report.failed(`left: ${left}`);
  const more = descriptorsOf(process.pid).filter((one) => !before.includes(one));
  if (client.atEnd !== client.atStart) report.failed(`this process holds more: ${more.join(', ')}`);
  if (handles() !== handlesBefore)
    report.failed(`this process's handles: ${handlesBefore}, then ${handles()}`);
  for (const one of watched) for (const fault of one.faults()) report.failed(fault);
  return watched;
}

/** What this process opens once and keeps (event loops of foreign calls, pools) is open before it is counted. */
async function rehearse(): Promise<void> {
  const place = new Place('local');
  const file = new RandomFile(place, MiB);
  const life = lives.find(({ name }) => name === 'library sandbox');
  await life?.run({ place, random: new Random(0), file });
  await place[Symbol.asyncDispose]();
}

interface Run {
  readonly random: Random;
  readonly report: Report;
  readonly watched: Watched[];
  readonly client: Watched;
}

/** Churn, with the proxies left alone and their memory compared; then churn with faults. */
async function phases(stages: readonly Stage[], lengthMs: number, run: Run): Promise<void> {
  const { watched, report, client } = run;
  const watches = stages.map(({ tenant }) => watch(tenant));
  const proxies = watches.map(({ proxy }) => proxy);
  const others = watches.flatMap((one) => one.others);
  const held = [...proxies, ...others];
  watched.unshift(...held);

  // Each process has done everything once before its descriptors are counted.
  await churn(stages, Math.min(20_000, lengthMs / 10), { ...run, phase: 'warm-up', sampled: [] });
  const count = async () => {
    for (const { tenant, place } of stages)
      await within(tenant.refresh(), STUCK_MS[place.driver], `the container of ${place.driver} is replaced`);
    return await settled(held);
  };
  const atStart = await count();
  held.forEach((one, at) => {
    one.atStart = atStart[at];
  });
  const pids = stages.map(({ place }) => proxyPid(place));

  const everything = [...held, client];
  await churn(stages, lengthMs * CHURN_PART, { ...run, phase: 'churn', sampled: everything });
  const afterChurn = await count();
  proxies.forEach((one, at) => {
    one.atEnd = afterChurn[at];
  });
  stages.forEach(({ place }, at) => {
    if (proxyPid(place) !== pids[at])
      report.failed(`${place.driver}: the proxy died though nobody killed it`);
  });

  const sampled = [...others, client];
  await churn(stages, lengthMs * (1 - CHURN_PART), { ...run, phase: 'faults', sampled, faults: true });
  const atEnd = await count();
  others.forEach((one, at) => {
    one.atEnd = atEnd[proxies.length + at];
  });
  // It is another process by now: one that has opened less so far is none the worse for it.
  proxies.forEach(({ name, atStart: first = 0 }, at) => {
    if ((atEnd[at] ?? 0) > first)
      report.failed(`${name} after faults: ${atEnd[at]} descriptors, ${first} at first`);
  });
}

interface Churn extends Run {
  readonly phase: string;
  readonly sampled: readonly Watched[];
  readonly faults?: boolean;
}

async function churn(stages: readonly Stage[], lengthMs: number, options: Churn): Promise<void> {
  const { random, report, phase, sampled } = options;
  const endAt = performance.now() + lengthMs;
  const more = () => performance.now() < endAt && !interrupted;
  const loop = async (step: () => Promise<void>) => {
    while (more()) await step();
  };
  const jobs: Promise<void>[] = [];
  for (const stage of stages) {
    const { place, tenant, file, workers } = stage;
    const { driver } = place;
    const suits = ({ only }: { only?: DriverName }) => only === undefined || only === driver;
    const [known, knownLives] = [operations.filter(suits), lives.filter(suits)];
    for (let worker = 0; worker < workers; worker++) {
      const own = random.fork();
      jobs.push(
        loop(async () => {
          const operation = own.weighted(known);
          await attempt(report, `${driver}: ${operation.name}`, STUCK_MS[driver], () =>
            operation.run({ tenant, random: own, file }),
          );
        }),
      );
    }
    const own = random.fork();
    jobs.push(
      loop(async () => {
        const life = own.weighted(knownLives);
        const name = `${driver}: sandbox, ${life.name}`;
        await attempt(report, name, STUCK_MS[driver], () => life.run({ place, random: own, file }));
      }),
    );
    if (options.faults) {
      const fate = random.fork();
      jobs.push(
        loop(async () => {
          await pause(fate.between(1000, 6000));
          const fault = fate.weighted(faults);
          await attempt(report, `${driver}: fault, ${fault.name}`, STUCK_MS[driver], async () => {
            await fault.run(tenant, fate);
          });
        }),
      );
    }
  }
  let [nextSample, nextStatus] = [0, 0];
  jobs.push(
    loop(async () => {
      const now = performance.now();
      if (now >= nextSample) {
        nextSample = now + SAMPLE_MS;
        for (const one of sampled) await one.sample();
      }
      if (now >= nextStatus && sampled.length > 0) {
        nextStatus = now + STATUS_MS;
        report.status(phase, sampled);
      }
      await pause(250);
    }),
  );
  await Promise.all(jobs);
}

async function attempt(
  report: Report,
  name: string,
  stuckMs: number,
  work: () => Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  try {
    await within(work(), stuckMs, `${name} is done`);
    report.done(name, performance.now() - startedAt);
  } catch (error) {
    report.failed(`${name}: ${reason(error)}`);
  }
}

/** With nothing left to serve they leave by themselves; until then they are the only processes. */
async function leftByProxies(places: readonly Place[]): Promise<void> {
  await until(() => places.every((place) => place.processes().length === 0), 'idle proxies have left');
}

/** What keeps an event loop alive, but for what the output is written to. */
const handles = (): number =>
  process.getActiveResourcesInfo().filter((name) => !/^(TTYWrap|Timeout|Immediate)$/.test(name)).length;

const reason = (error: unknown): string =>
  (error instanceof Error ? (error.stack ?? error.message) : String(error))
    .split('\n')
    .slice(0, 12)
    .join(' ⏎ ');

await main();
