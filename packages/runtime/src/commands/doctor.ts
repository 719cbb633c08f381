import { isatty } from 'node:tty';
import { print, table } from '../cli/output.ts';
import { Progress } from '../cli/progress.ts';
import { command } from '../command.ts';
import { type CheckResult, runChecks, type Verdict } from '../host/checks.ts';

const colours: Record<Verdict, string> = { ok: '32', warning: '33', missing: '31' };

export default command({
  options: {
    json: { type: 'boolean', help: 'print the results as JSON' },
  },
  positionals: [0, 0],
  async run({ json }, _, { settings }) {
    let results: CheckResult[];
    {
      using progress = new Progress('checking this host');
      results = await runChecks(settings, (text) => progress.update(text));
    }
    const usable = results.every(({ verdict }) => verdict !== 'missing');
    if (json === true) print(`${JSON.stringify({ usable, checks: results }, null, 2)}\n`);
    else print(render(results, usable, isatty(1) && process.env.NO_COLOR === undefined));
    return usable ? 0 : 1;
  },
});

export function render(results: readonly CheckResult[], usable: boolean, coloured: boolean): string {
  const lines = table(results.map(({ name, verdict, detail }) => [verdict, name, detail])).split('\n');
  const shown = results.flatMap(({ verdict, remedy }, i) => {
    const line = lines[i] ?? '';
    const start = coloured ? `\x1b[${colours[verdict]}m${verdict}\x1b[0m` : verdict;
    return [
      start + line.slice(verdict.length),
      ...(remedy === undefined ? [] : [`${' '.repeat(10)}→ ${remedy}`]),
    ];
  });
  const last = usable ? 'This host can run containers.' : 'Something that is needed is missing.';
  return `${shown.join('\n')}\n\n${last}\n`;
}
