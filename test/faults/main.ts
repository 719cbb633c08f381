/**
 * The fault suite by hand: `make faults`, or
 *
 *   tsx test/faults/main.ts [--driver qemu|local] [--seed N] [--faults N] [--kills N] [--processes N] [--json]
 */
import { parseArgs } from 'node:util';
import { runFaults } from './saboteur.ts';
import { closingTable, liveHeader, liveLine } from './table.ts';

const { values } = parseArgs({
  options: {
    driver: { type: 'string', default: 'qemu' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
    faults: { type: 'string', default: '40' },
    kills: { type: 'string', default: '20' },
    processes: { type: 'string', default: '16' },
    json: { type: 'boolean', default: false },
  },
});
if (values.driver !== 'qemu' && values.driver !== 'local') throw new Error('--driver is qemu or local');
const say = (text: string): void => {
  if (!values.json) console.log(text);
};
const report = await runFaults({
  driver: values.driver,
  seed: Number(values.seed),
  faults: Number(values.faults),
  kills: Number(values.kills),
  processes: Number(values.processes),
  onState: (text) => say(`faults: ${text}`),
  onFault: (line) => {
    if (line.number === 1) say(liveHeader);
    say(liveLine(line));
  },
});
say(closingTable(report));
if (values.json) console.log(JSON.stringify(report, null, 2));
process.exitCode = report.wrong.length === 0 ? 0 : 1;
