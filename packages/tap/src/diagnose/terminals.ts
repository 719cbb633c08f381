/** Terminals of the wrong size, and signals that change nothing. */
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import { type CheckContext, type Finding, lasts, numbers, processText, sinceText } from './finding.ts';

/** SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM: whoever sends one wants an end. */
const ENDING: ReadonlySet<number> = new Set([1, 2, 3, 9, 15]);

export function* checkTerminals(flow: SandboxFlow, context: CheckContext): Generator<Finding> {
  const { sandbox } = flow;
  for (const process of flow.processes.values()) {
    const who = processText(flow, process.number);
    const { made, size, lastSignal } = process;
    if (made?.terminal && size === undefined && lasts(made, context))
      yield {
        cause: 'terminal_size',
        level: 'problem',
        sandbox,
        process: process.number,
        title: `the terminal of ${who} has no size`,
        text: 'Neither the request that made it nor a RESIZE has given one: it has 0 columns and 0 rows, and programs in it guess 80 by 24, whatever the window is.',
        evidence: numbers(made, process.attached),
      };
    if (made !== undefined && !made.terminal && process.resizes > 0)
      yield {
        cause: 'terminal_size',
        level: 'hint',
        sandbox,
        process: process.number,
        title: `${who} has no terminal, and was given a size`,
        text: 'A RESIZE of a process without a terminal is dropped. Perhaps it was meant to have one.',
        evidence: numbers(made, size),
      };
    if (
      lastSignal !== undefined &&
      ENDING.has(lastSignal.signal) &&
      process.exit === undefined &&
      lasts(lastSignal, context)
    )
      yield {
        cause: 'signal_unheeded',
        level: 'hint',
        sandbox,
        process: process.number,
        title: `${who} goes on after signal ${lastSignal.signal}`,
        text: `It was sent, and there is no exit, ${sinceText(lastSignal, context)}. A container's first process ignores signals for which it has no handler.`,
        evidence: numbers(lastSignal),
      };
  }
}
