import { filterHelp, filterOptions, makeFilter } from '../model/filter.ts';
import { NamesBySandbox } from '../model/names-by-sandbox.ts';
import { loadSchema } from '../model/schema.ts';
import { readCapture } from '../read/read-file.ts';
import { DamageReport } from '../words/damage.ts';
import { route } from '../words/explain.ts';
import { Output } from '../words/output.ts';
import { formatClock, jsonLine, printable } from '../words/text.ts';
import { type Command, jsonOption, parseCommand } from './command.ts';

export const decode: Command = {
  usage: 'decode FILE --proto DIR [FILTER…] [--json]',
  summary: 'print the control messages of a capture, read by a schema that you have: of a newer version, say',
  options: {
    '--proto DIR': 'a folder with .proto files: proto/ of the version that was captured',
    ...filterHelp,
    '--json': 'one JSON object a line',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE'], {
      ...jsonOption,
      ...filterOptions,
      proto: { type: 'string' },
    });
    const schema = await loadSchema(values.proto);
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
          if (message === undefined || !wanted(record, own, record.startNs)) return;
          const decoded = schema.decode(message);
          const head = { number: record.number, connection: record.connection, id: record.id };
          if (values.json) output.line(jsonLine({ ...head, sandbox: record.sandbox, ...decoded }));
          else {
            const { kind, method, ...fields } = decoded;
            output.line(
              `#${record.number} ${formatClock(record.startNs, record.timeNs)} ${printable(record.sandbox)} ${route(record)} ${kind} ${record.id} ${printable(method)}`,
            );
            for (const line of JSON.stringify(fields.message ?? fields, null, 2).split('\n'))
              output.line(`    ${printable(line)}`);
          }
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
