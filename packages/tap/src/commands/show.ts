import { filterHelp, filterOptions, makeFilter } from '../model/filter.ts';
import { NamesBySandbox } from '../model/names-by-sandbox.ts';
import { readCapture } from '../read/read-file.ts';
import { DamageReport } from '../words/damage.ts';
import { explain, route, typeName } from '../words/explain.ts';
import { recordJson } from '../words/json.ts';
import { Output } from '../words/output.ts';
import { formatClock, printable } from '../words/text.ts';
import { type Command, jsonOption, parseCommand } from './command.ts';

export const show: Command = {
  usage: 'show FILE [FILTER…] [--json]',
  summary: 'print one line for each frame, in words',
  options: { ...filterHelp, '--json': 'one JSON object a line, with all fields' },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE'], { ...jsonOption, ...filterOptions });
    const wanted = makeFilter(values);
    const names = new NamesBySandbox();
    const output = new Output();
    const report = new DamageReport();
    const reader = await readCapture(
      positionals[0] as string,
      {
        record: (record) => {
          const own = names.of(record);
          const message = own.take(record);
          if (!wanted(record, own, record.startNs)) return;
          output.line(
            values.json
              ? recordJson(record, own, message)
              : `${column(`#${record.number}`, 7)} ${formatClock(record.startNs, record.timeNs)}  ${column(printable(record.sandbox), 12)}  ${column(route(record), 16)}  ${column(typeName(record), 13)}  ${explain(record, own, message)}`,
          );
        },
        damage: (damage) => report.damage(damage),
        counters: (counters) => report.counters(counters),
      },
      { signal, between: () => output.room() },
    );
    output.flush();
    report.end(reader);
    return 0;
  },
};

function column(text: string, width: number): string {
  return text.padEnd(width);
}
