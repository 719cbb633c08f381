/** When each process began and how it ended. */
import type { ProcessFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import { describeExit } from '../words/explain.ts';
import { printable } from '../words/text.ts';
import type { ProcessData } from './data.ts';
import { rounded } from './series.ts';
import { shortProcess } from './words.ts';

const MOST_PROCESSES = 1000;

export function processesOf(flow: SandboxFlow): { processes: ProcessData[]; leftOut: number } {
  const all = [...flow.processes.values()].filter((process) => beginning(process) !== undefined);
  // Those that go on, and the latest ones, are what is looked for.
  const kept = all.length <= MOST_PROCESSES ? all : all.slice(all.length - MOST_PROCESSES);
  const processes = kept
    .map((process) => processData(flow, process))
    .sort((a, b) => a.fromMs - b.fromMs || a.number - b.number);
  return { processes, leftOut: all.length - kept.length + flow.folded };
}

function processData(flow: SandboxFlow, process: ProcessFlow): ProcessData {
  const { exit, lastSignal, size, resizes, attached, attaches, takenOver } = process;
  const marks = [
    ...(lastSignal === undefined ? [] : [mark(lastSignal.timeNs, `signal ${lastSignal.signal}`)]),
    ...(size === undefined || resizes === 0 ? [] : [mark(size.timeNs, `size ${size.columns}×${size.rows}`)]),
    ...(attached === undefined || attaches < 2
      ? []
      : [mark(attached.timeNs, `attached for the ${ordinal(attaches)} time`)]),
    ...takenOver.map(({ timeNs }) => mark(timeNs, 'taken over')),
    ...flow.refusals
      .filter((refusal) => refusal.process === process.number)
      .map(({ timeNs, code }) => mark(timeNs, `refused (${code})`)),
  ];
  return {
    number: process.number,
    label: printable(shortProcess(flow.names, process.number)),
    terminal: process.made?.terminal ?? false,
    fromMs: rounded((beginning(process) as number) / 1e6),
    exitMs: exit === undefined ? undefined : rounded(exit.timeNs / 1e6),
    exit: exit === undefined ? undefined : describeExit(exit.cause, exit.waitStatus),
    failed: exit !== undefined && exit.waitStatus !== 0,
    marks,
  };
}

function beginning(process: ProcessFlow): number | undefined {
  const seen = [process.made, process.attached, ...process.streams.map(({ first }) => first), process.exit];
  const times = seen.flatMap((one) => (one === undefined ? [] : [one.timeNs]));
  return times.length === 0 ? undefined : Math.min(...times);
}

function mark(timeNs: number, text: string): { atMs: number; text: string } {
  return { atMs: rounded(timeNs / 1e6), text };
}

function ordinal(number: number): string {
  const ending =
    number % 100 > 3 && number % 100 < 21 ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th');
  return `${number}${ending}`;
}
