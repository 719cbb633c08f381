import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Diagnosis } from '../diagnose/diagnose.ts';
import { TapError } from '../errors.ts';
import type { Replay } from '../replay/replay.ts';
import { Output } from '../words/output.ts';
import { count, formatBytes, formatSpan, jsonLine, printable } from '../words/text.ts';
import { type Command, jsonOption, parseCommand } from './command.ts';

export const replay: Command = {
  usage: 'replay FILE [--speed N] [--sandbox ID] [--output FILE] [--json]',
  summary:
    'play a recorded session against a fresh agent without a VM, and say whether the same goes wrong again',
  options: {
    '--speed N': 'N times as fast; 1 unless given',
    '--sandbox ID': 'which one, where the capture has several',
    '--output FILE': 'keep the capture that is made of the replay; it must not exist',
    '--payload': 'that capture holds all bytes',
    '--json': 'one JSON object',
  },
  exitCodes: '0 the same causes as in the recording, or none in both, 3 others, 1 failed, 2 used wrongly',
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE'], {
      ...jsonOption,
      speed: { type: 'string', default: '1' },
      sandbox: { type: 'string' },
      output: { type: 'string', short: 'o' },
      payload: { type: 'boolean', default: false },
    });
    const speed = Number(values.speed);
    if (!(speed >= 0.01 && speed <= 1000))
      throw new TapError('usage', `--speed needs a number from 0.01 to 1000, not ${values.speed}`);
    const [path = ''] = positionals;
    // Starting agents is for this command alone.
    const { replay: play, causesOf } = await import('../replay/replay.ts');
    const result = await play({ path, ...programs(), ...values, speed, signal });
    const [before, after] = [causesOf(result.plan.diagnosis), causesOf(result.diagnosis)];
    const same = before.join() === after.join();
    const output = new Output();
    if (values.json)
      output.line(
        jsonLine({
          recorded: before,
          replayed: after,
          same,
          actions: result.played.done,
          skipped: Object.fromEntries(result.played.skipped),
          leftOut: result.plan.leftOut,
        }),
      );
    else output.lines(text(result, same));
    output.flush();
    return same ? 0 : 3;
  },
};

/** Of this installation, or of the checkout. */
function programs(): { readonly proxyCommand: readonly string[]; readonly agentEntry: string } {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const proxy = join(folder, 'bin', 'coracle-proxy');
    if (existsSync(proxy))
      return { proxyCommand: [proxy], agentEntry: join(folder, 'dist', 'agent', 'agent.js') };
  }
  throw new TapError('not-found', 'bin/coracle-proxy is not there: build it with `make build`');
}

function* text({ plan, played, diagnosis }: Replay, same: boolean): Generator<string> {
  const { reader } = plan.diagnosis;
  yield `Played ${count(played.done, 'action')} of ${count(played.clients, 'client')} and ${count(plan.processes.size, 'process', 'processes')}, ${formatSpan(reader.endNs)} as recorded.`;
  if (plan.leftOut > 0)
    yield `${formatBytes(plan.leftOut)} crossed and are not in the capture: zeros of the same lengths stood for them.`;
  for (const [why, times] of played.skipped) yield `Not played: ${times} × ${printable(why)}.`;
  yield* found('Recorded', plan.diagnosis);
  yield* found('Replayed', diagnosis);
  yield same ? 'The same causes.' : 'Not the same causes.';
}

function* found(when: string, { findings }: Diagnosis): Generator<string> {
  const problems = findings.filter(({ level }) => level === 'problem');
  if (problems.length === 0) yield `${when}: nothing is wrong.`;
  for (const { title, cause } of problems) yield `${when}: ${printable(title)} [${cause}]`;
}
