import { basename } from 'node:path';
import { TapError } from '../errors.ts';
import { collectReport } from '../report/collect.ts';
import { reportHtml } from '../report/html.ts';
import { loadPageParts } from '../report/page-parts.ts';
import { DamageReport } from '../words/damage.ts';
import { type Command, parseCommand } from './command.ts';
import { writeNewFile } from './new-file.ts';

export const report: Command = {
  usage: 'report FILE [--output FILE] [--payload]',
  summary:
    'write one HTML page that works offline: what is wrong, who said what to whom, every stream by time, terminals',
  options: {
    '--output FILE': "the page; it must not exist. The capture's name with .html unless given",
    '--payload': 'with what terminals have shown, to be played in the page, where the capture holds it',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE'], {
      output: { type: 'string', short: 'o' },
      payload: { type: 'boolean', default: false },
    });
    const [path = ''] = positionals;
    if (path === '-')
      throw new TapError('usage', 'a report reads its capture twice: give it a file, and not stdin');
    const output = values.output ?? `${basename(path).replace(/\.pcapng$/, '')}.html`;
    const damage = new DamageReport();
    const { data, reader } = await collectReport(path, {
      signal,
      payload: values.payload,
      events: { damage: (one) => damage.damage(one), counters: (counters) => damage.counters(counters) },
    });
    damage.end(reader);
    writeNewFile(output, reportHtml(data, await loadPageParts()));
    if (values.output === undefined) process.stderr.write(`coracle-tap: wrote ${output}\n`);
    return 0;
  },
};
