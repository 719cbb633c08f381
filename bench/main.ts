/**
 * `make bench`: the numbers of issue 2, each beside its baseline from the same run.
 *
 *   tsx bench/main.ts [NAME…] [--json]        NAME: exec, throughput, echo, start, memory
 *
 * A missed target is said and is no failure: on a busy machine numbers vary. The exit code is 1 when something broke.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { createQemuDriver, sizeVm } from '@coracle/vm';
import { imageFolder, measureBaseline } from './baseline.ts';
import { benchEcho } from './echo.ts';
import { benchExec } from './exec.ts';
import { benchMemory } from './memory.ts';
import { Place } from './place.ts';
import { printHead, printRow, type Row, reached, rowAsJson } from './report.ts';
import { benchStart } from './start.ts';
import { benchThroughput } from './throughput.ts';

const titles = {
  start: 'Start: from the command to the exit code',
  exec: 'exec in a running container',
  echo: 'Keystrokes through a terminal',
  throughput: 'Throughput through the whole chain',
  memory: 'Resident memory',
} as const;
type Name = keyof typeof titles;
const names = Object.keys(titles) as Name[];

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
    rows.set(name, measured);
    if (values.json) return;
    printHead(titles[name]);
    for (const row of measured) printRow(row);
  };

  say('baselines: a bare boot, dd on the port, crun exec alone');
  const { bootToInitMs, ddOut, ddIn, crunExecMs } = await measureBaseline(5);
  await using place = new Place();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void place[Symbol.asyncDispose]().finally(() => process.exit(130)));
  }
  await bench('start', () => benchStart(place, 5, bootToInitMs));
  if (positionals.every((name) => name === 'start') && positionals.length > 0) return conclude();
  say('a container in a VM');
  const { sandbox, container } = await place.container('bench');
  await bench('exec', () => benchExec(place, container, crunExecMs));
  await bench('echo', () => benchEcho(place, container, 150));
  await bench('throughput', () => benchThroughput(place, container, { mib: 32, rounds: 3, ddOut, ddIn }));
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
