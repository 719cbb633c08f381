/**
 * `make bench`: the numbers of issues 2, 3 and 4, each beside its baseline from the same run.
 *
 *   tsx bench/main.ts [NAME…] [--json]        NAME: exec, signal, throughput, echo, start, memory, docker,
 *                                            stuck, recovery, switch, streams, tap, boot
 *
 * A missed target is said and is no failure: on a busy machine numbers vary. The exit code is 1 when something broke.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { createQemuDriver, sizeVm } from '@coracle/vm';
import { imageFolder, measureBaseline } from './baseline.ts';
import { benchBoot } from './boot.ts';
import { benchDocker } from './docker.ts';
import { benchEcho } from './echo.ts';
import { benchExec } from './exec.ts';
import { LocalPlace } from './local-place.ts';
import { benchMemory } from './memory.ts';
import { Place } from './place.ts';
import { benchRecovery, benchShimRecovery, benchVmRecovery } from './recovery.ts';
import { printHead, printRow, type Row, reached, rowAsJson } from './report.ts';
import { benchSignal } from './signal.ts';
import { benchStart } from './start.ts';
import { benchStreams } from './streams.ts';
import { benchStuck } from './stuck.ts';
import { benchSwitch } from './switch.ts';
import { benchTap } from './tap.ts';
import { benchTemplate } from './template.ts';
import { benchThroughput } from './throughput.ts';

const titles = {
  boot: 'The guest image: start, size, memory',
  start: 'Start: from the command to the exit code',
  template: 'From a template, and booted',
  docker: 'Docker: run and exec, on runc and on Coracle',
  exec: 'exec in a running container',
  echo: 'Keystrokes through a terminal',
  signal: 'A signal until its handler has answered',
  throughput: 'Throughput through the whole chain',
  memory: 'Resident memory',
  stuck: 'Stuck readers',
  recovery: 'kill -9 of the proxy, until bytes flow again',
  switch: 'Switching: MiB through the proxy per second of its processor time',
  streams: 'A thousand streams on one link',
  tap: 'Captures: what they cost the proxy, and how fast they are read',
} as const;
type Name = keyof typeof titles;
const names = Object.keys(titles) as Name[];
/** Those that need no VM at all. */
const local: readonly Name[] = ['switch', 'streams', 'tap'];

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { json: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !names.includes(name as Name));
  if (unknown.length > 0) {
    console.error(`bench: there is no benchmark ${unknown.join(', ')}; there are ${names.join(', ')}`);
    return 2;
  }
  const started = performance.now();
  const say = (text: string): void => console.error(`bench: ${text}`);
  const { accel } = await createQemuDriver().describe(imageFolder);
  const { vcpus, memoryBytes } = sizeVm({});
  const machine = `${cpus().length} host CPUs, VMs with ${vcpus} vCPUs and ${memoryBytes / 1024 / 1024} MiB, ${accel}`;
  if (!values.json) console.log(machine);
  const rows = new Map<Name, Row[]>();
  const bench = async (name: Name, run: () => Promise<Row[]>): Promise<void> => {
    if (positionals.length > 0 && !positionals.includes(name)) return;
    const measured = await run();
    const known = rows.get(name);
    rows.set(name, [...(known ?? []), ...measured]);
    if (values.json) return;
    // One that is measured in two places comes in two parts.
    printHead(known === undefined ? titles[name] : `${titles[name]}, in a VM`);
    for (const row of measured) printRow(row);
  };

  say('without a VM: agents as processes of this host');
  await bench('switch', () => benchSwitch(5));
  await bench('tap', () => benchTap(5));
  await bench('streams', () => benchStreams(1000, 5));
  await bench('recovery', async () => [...(await benchRecovery(10)), ...(await benchShimRecovery(10))]);
  await bench('stuck', async () => {
    await using place = new LocalPlace();
    return await benchStuck((await place.container()).container, 'local', 15);
  });
  const only = (some: readonly Name[]): boolean =>
    positionals.length > 0 && positionals.every((name) => some.includes(name as Name));
  if (only(local)) return conclude();
  say("the image: starts to the agent's hello");
  await bench('boot', () => benchBoot(5));
  if (only([...local, 'boot'])) return conclude();
  if (only(['docker'])) {
    await using place = new Place();
    await bench('docker', () => benchDocker(place, 7));
    return conclude();
  }
  if (only(['template'])) {
    await using place = new Place();
    await bench('template', () => benchTemplate(place, 7));
    return conclude();
  }
  say('baselines: a bare boot, dd on the port, crun exec alone');
  const { bootToInitMs, ddOut, ddIn, crunExecMs } = await measureBaseline(5);
  await using place = new Place();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void place[Symbol.asyncDispose]().finally(() => process.exit(130)));
  }
  await bench('start', () => benchStart(place, 5, bootToInitMs));
  if (only([...local, 'start'])) return conclude();
  await bench('template', () => benchTemplate(place, 7));
  await bench('docker', () => benchDocker(place, 7));
  say('a container in a VM');
  const { sandbox, container } = await place.container('bench');
  await bench('exec', () => benchExec(place, container, crunExecMs));
  await bench('echo', () => benchEcho(place, container, 150));
  await bench('signal', () => benchSignal(place, sandbox, container, 240));
  await bench('throughput', () => benchThroughput(place, container, { mib: 32, rounds: 3, ddOut, ddIn }));
  await bench('stuck', () => benchStuck(container, 'VM', 15));
  await bench('recovery', () => benchVmRecovery(container, 10, () => place.proxyPid()));
  await bench('memory', () => benchMemory(place, sandbox, container));
  sandbox.close();
  return conclude();

  function conclude(): number {
    const all = [...rows.values()].flat();
    const targets = all.filter((row) => row.target !== undefined);
    const made = targets.filter(reached).length;
    if (values.json) {
      const results = Object.fromEntries([...rows].map(([name, list]) => [name, list.map(rowAsJson)]));
      console.log(JSON.stringify({ machine, results }, null, 2));
    } else console.log(`\n${made} of ${targets.length} targets reached`);
    say(`took ${((performance.now() - started) / 1000).toFixed(0)} s`);
    return 0;
  }
}

process.exitCode = await main();
