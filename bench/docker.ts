/** Docker on Coracle beside Docker on runc, both by the same dockerd: a real engine, as test/clients starts it. */
import { readFileSync } from 'node:fs';
import { Engines, inside, type World } from '../test/clients/world.ts';
import type { Place } from './place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

const runtimes = ['runc', 'coracle'] as const;
type Samples = Record<(typeof runtimes)[number], number[]>;

export async function benchDocker(place: Place, rounds: number): Promise<Row[]> {
  const booted = await withEngines('off', (world) => alternately(3, (runtime) => run(world, runtime)));
  return await withEngines('existing', async (world) => {
    const runs = await alternately(rounds, (runtime) => run(world, runtime));
    for (const runtime of runtimes)
      await must(
        world,
        `docker run -d --runtime=${runtime} --network=none --name=${runtime} $IMAGE sleep 1000000`,
      );
    const execs = await alternately(2 * rounds, (runtime) => time(world, `docker exec ${runtime} true`));
    return [
      beside('docker run --rm IMAGE true', runs, {
        atMost: median(runs.runc) + 1500,
        text: '≤ runc + 1.5 s',
      }),
      beside('  … with a VM that boots', booted),
      ...(await phases(world, rounds)),
      beside('docker exec C true', execs, {
        atMost: 1.5 * median(execs.runc) + 150,
        text: '≤ 1.5 × runc + 150 ms',
      }),
      ...(await commands(place, rounds)),
      ...(await memory(world)),
    ];
  });
}

const beside = (name: string, { coracle, runc }: Samples, target?: Row['target']): Row => ({
  name,
  unit: 'ms',
  samples: coracle,
  baseline: { name: 'runc', samples: runc },
  ...(target === undefined ? {} : { target }),
});

/** `existing` needs a template: `coracle template build` makes one. */
async function withEngines<T>(template: 'off' | 'existing', use: (world: World) => Promise<T>): Promise<T> {
  const before = process.env.CORACLE_TEMPLATE;
  process.env.CORACLE_TEMPLATE = template;
  try {
    await using engines = await Engines.start();
    if (template === 'existing') await must(engines.world, '$CORACLE template build');
    return await use(engines.world);
  } finally {
    if (before === undefined) delete process.env.CORACLE_TEMPLATE;
    else process.env.CORACLE_TEMPLATE = before;
  }
}

/** In turn, so that a busy moment meets both; what is cold the first time does not count. */
async function alternately(
  rounds: number,
  measure: (runtime: (typeof runtimes)[number]) => Promise<number>,
): Promise<Samples> {
  const samples: Samples = { runc: [], coracle: [] };
  for (const runtime of runtimes) await measure(runtime);
  for (let round = 0; round < rounds; round++)
    for (const runtime of runtimes) samples[runtime].push(await measure(runtime));
  return samples;
}

const run = (world: World, runtime: string) =>
  time(world, `docker run --rm --runtime=${runtime} --network=none $IMAGE true`);

/** Measured inside, without what it takes to get there. */
async function time(world: World, line: string): Promise<number> {
  const out = await must(
    world,
    `a=$(date +%s%N); ${line} >/dev/null || exit; b=$(date +%s%N); echo $(((b - a) / 1000))`,
  );
  return Number(out) / 1000;
}

async function must(world: World, line: string): Promise<string> {
  const { code, stdout, stderr } = await inside(world, line);
  if (code !== 0) throw new Error(`${line} ended with ${code}: ${stderr}`);
  return stdout;
}

/** What `docker run` does, one by one; Docker notes when the runtime's start came back. */
async function phases(world: World, rounds: number): Promise<Row[]> {
  const names = [
    'docker create',
    'the VM, the container, the shim',
    'the program, its end, the end of the VM',
    'docker rm',
  ] as const;
  const samples = names.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    const out = await must(
      world,
      `t() { date +%s%N; }
       T0=$(t); docker create --runtime=coracle --network=none --name=phases $IMAGE true >/dev/null; T1=$(t)
       docker start -a phases; T3=$(t)
       STARTED=$(date -d "$(docker inspect -f '{{.State.StartedAt}}' phases)" +%s%N)
       T4=$(t); docker rm phases >/dev/null; T5=$(t)
       echo $T0 $T1 $STARTED $T3 $T4 $T5`,
    );
    const [t0 = 0, t1 = 0, started = 0, t3 = 0, t4 = 0, t5 = 0] = out
      .trim()
      .split(/\s+/)
      .map((word) => Number(word) / 1e6);
    for (const [index, ms] of [t1 - t0, started - t1, t3 - started, t5 - t4].entries())
      samples[index]!.push(ms);
  }
  return names.map((name, index) => ({ name: `  ${name}`, unit: 'ms', samples: samples[index]! }));
}

/** The command line's own share, its start-up included. */
async function commands(place: Place, rounds: number): Promise<Row[]> {
  const target = { text: '< 100 ms', atMost: 100 };
  const samples = { state: [] as number[], kill: [] as number[], delete: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const id = `docker-${round}`;
    await place.time(['run', '--detach', '--bundle', place.bundle(id, ['sleep', '1000000']), id]);
    samples.state.push(await place.time(['state', id]));
    samples.kill.push(await place.time(['kill', id, 'KILL']));
    // A container that is still ending is not yet to be deleted.
    for (;;) {
      const start = performance.now();
      const done = await place.time(['delete', id]).then(
        () => true,
        () => false,
      );
      if (!done) continue;
      samples.delete.push(performance.now() - start);
      break;
    }
  }
  return Object.entries(samples).map(([name, ms]) => ({
    name: `coracle ${name}`,
    unit: 'ms',
    samples: ms,
    target,
  }));
}

/** What one idle container of Docker's costs the host, part by part. */
async function memory(world: World): Promise<Row[]> {
  const pids = async (line: string) => (await must(world, line)).trim().split(/\s+/).map(Number);
  const shims = () => pids('pgrep -P $(engine_shim coracle) coracle-shim');
  const all = 'pgrep -P $(engine_shim coracle)';
  const before = await shims();
  const parts = {
    QEMU: await pids(`${all} qemu`),
    'virtiofsd, two processes': await pids(
      `for pid in $(${all} virtiofsd); do echo $pid; pgrep -P $pid; done`,
    ),
    'coracle-shim': before,
    'the proxy, which all VMs share': await pids('pgrep -f "[c]oracle-proxy.js.*$CORACLE_RUN"'),
    "containerd's shim, as with runc": await pids('engine_shim coracle'),
  };
  await must(world, 'docker exec -d coracle sleep 1000000');
  const exec = (await shims()).filter((pid) => !before.includes(pid));
  return [
    ...Object.entries(parts).map(([name, of]) => row(`idle container: ${name}`, of)),
    row('each exec: coracle-shim', exec),
  ];
}

const row = (name: string, pids: readonly number[]): Row => ({
  name,
  unit: 'MiB',
  samples: [pids.reduce((sum, pid) => sum + proportionalKib(pid), 0) / 1024],
});

/** Pss of smaps_rollup: what is shared counts by its share (proc(5)). */
const proportionalKib = (pid: number) =>
  Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
