import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Diagnosis, diagnose as diagnoseFile } from '../diagnose/diagnose.ts';
import { explainRecords } from '../diagnose/evidence.ts';
import type { Finding } from '../diagnose/finding.ts';
import { TapError } from '../errors.ts';
import { CaptureFiles } from '../record/capture-files.ts';
import { captureFromProxy } from '../record/proxy-capture.ts';
import { DamageReport } from '../words/damage.ts';
import { Output } from '../words/output.ts';
import { count, formatBytes, formatSpan, jsonLine, printable } from '../words/text.ts';
import { type Command, jsonOption, parseCommand } from './command.ts';
import { proxyHelp, proxyOption, proxySocket } from './record.ts';

export const diagnose: Command = {
  usage: 'diagnose FILE|SANDBOX [--stall SECONDS] [--for SECONDS] [--json]',
  summary: 'say what stands still and why, with the frames that prove it',
  options: {
    '--stall SECONDS': 'what has not moved for so long stands still; 1 unless given',
    '--for SECONDS': 'of a sandbox that runs: capture it for so long first; 5 unless given',
    ...proxyHelp,
    '--json': 'one JSON object a line for each finding',
  },
  exitCodes: '0 nothing is wrong, 3 something is, 1 failed, 2 used wrongly',
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE|SANDBOX'], {
      ...jsonOption,
      ...proxyOption,
      stall: { type: 'string', default: '1' },
      for: { type: 'string', default: '5' },
    });
    const [name = ''] = positionals;
    const stallNs = seconds(values.stall, '--stall') * 1e9;
    if (existsSync(name) || name.includes('/') || name === '-')
      return await tell(name, stallNs, values.json, signal);
    const folder = mkdtempSync(join(tmpdir(), 'coracle-tap-'));
    try {
      const path = join(folder, 'capture.pcapng');
      await captureFor(seconds(values.for, '--for') * 1000, name, path, proxySocket(values.proxy), signal);
      return await tell(path, stallNs, values.json, signal);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function seconds(text: string, option: string): number {
  const value = Number(text);
  if (text === '' || !(value >= 0) || value > 86_400)
    throw new TapError('usage', `${option} needs seconds, not ${text}`);
  return value;
}

async function captureFor(
  ms: number,
  sandbox: string,
  path: string,
  socketPath: string,
  signal: AbortSignal,
): Promise<void> {
  const end = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  const files = new CaptureFiles({ path, maxFileBytes: 256 * 1024 * 1024, files: 1 });
  try {
    const capture = captureFromProxy({
      socketPath,
      content: 'headers',
      sandboxes: [sandbox],
      signal: end,
      onState: (state) => {
        files.newSection();
        const what =
          state === 'capturing'
            ? `capturing ${sandbox} for ${ms / 1000} s`
            : `no proxy listens on ${socketPath}; waiting for one`;
        process.stderr.write(`coracle-tap: ${printable(what)}\n`);
      },
    });
    for await (const chunk of capture) files.write(chunk);
  } finally {
    files.close();
  }
  signal.throwIfAborted();
  if (files.packets === 0)
    throw new TapError(
      'not-found',
      `nothing was seen of a sandbox ${sandbox}: it has no client, or there is none of that name`,
    );
}

async function tell(path: string, stallNs: number, json: boolean, signal: AbortSignal): Promise<number> {
  const report = new DamageReport();
  const diagnosis = await diagnoseFile(path, {
    stallNs,
    signal,
    events: { damage: (damage) => report.damage(damage), counters: (counters) => report.counters(counters) },
  });
  const output = new Output();
  const { findings } = diagnosis;
  if (json) for (const finding of findings) output.line(jsonLine(finding));
  else output.lines(await text(path, diagnosis, signal));
  output.flush();
  report.end(diagnosis.reader);
  return findings.some(({ level }) => level === 'problem') ? 3 : 0;
}

async function text(
  path: string,
  { findings, reader, flows }: Diagnosis,
  signal: AbortSignal,
): Promise<string[]> {
  const problems = findings.filter(({ level }) => level === 'problem');
  const hints = findings.filter(({ level }) => level === 'hint');
  const bytes = [...flows.sandboxes.values()].reduce((sum, flow) => sum + flow.bytes, 0);
  const looked = `${count(reader.records, 'record')}, ${formatBytes(bytes)} of payload, ${formatSpan(reader.endNs)}`;
  const wanted = new Set(findings.flatMap(({ evidence }) => evidence));
  const lines = await explainRecords(path, wanted, { signal });
  const paragraphs = (list: readonly Finding[]): string[] =>
    list.flatMap((finding) => [
      '',
      `${printable(finding.sandbox)}: ${printable(finding.title)} [${finding.cause}]`,
      ...wrap(printable(finding.text), 110).map((line) => `  ${line}`),
      ...finding.evidence.map((number) => `    ${lines.get(number) ?? `#${number}`}`),
    ]);
  return [
    problems.length === 0
      ? `Nothing is wrong in ${looked}.`
      : `${count(problems.length, 'problem')} in ${looked}.`,
    ...paragraphs(problems),
    ...(hints.length === 0 ? [] : ['', 'Perhaps as it should be:', ...paragraphs(hints)]),
  ];
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
