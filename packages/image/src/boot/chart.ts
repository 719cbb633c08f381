/** The phases of a start as bars in a terminal, each beginning where the one before it ends. */
import { bar, style, table } from '../commands/text.ts';
import type { Profile } from './boot-image.ts';
import { foldSmallParts, median, type PhaseSummary } from './phases.ts';

const barColumns = 48;
const colours = ['blue', 'cyan', 'yellow', 'magenta', 'green', 'red', 'white'] as const;

export function drawChart({ phases: all, helloMs }: Profile): string[] {
  const phases = foldSmallParts(all);
  const wholeMs = Math.max(1, ...phases.map(({ beganMs, medianMs }) => beganMs + medianMs));
  const rows = [
    ['', 'median', 'min – max'],
    ...phases.map(({ name, part, medianMs, minMs, maxMs }) => [
      `${part ? '    ' : '  '}${name}`,
      formatMs(medianMs),
      formatRange(minMs, maxMs),
    ]),
    ['  hello', formatMs(median(helloMs)), formatRange(Math.min(...helloMs), Math.max(...helloMs))],
  ];
  const lines = table(rows, [1, 2]);
  const width = Math.max(...lines.map((line) => line.length));
  let colour = -1;
  return lines.map((line, index) => {
    if (index === 0) return style('dim', line);
    const phase = phases[index - 1];
    if (phase === undefined) return style('bold', line);
    if (!phase.part) colour++;
    const drawn = drawBar(phase, wholeMs);
    const paint = colours[colour % colours.length] ?? 'white';
    return `${line.padEnd(width)}  ${drawn.blank}${style(phase.part ? ['dim', paint] : paint, drawn.bar)}`.trimEnd();
  });
}

/** Where it begins is rounded to columns, so that what follows on it seems to. */
function drawBar({ beganMs, medianMs }: PhaseSummary, wholeMs: number): { blank: string; bar: string } {
  const began = Math.floor((beganMs / wholeMs) * barColumns);
  return { blank: ' '.repeat(began), bar: bar(medianMs, wholeMs, barColumns) };
}

export function formatMs(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

function formatRange(minMs: number, maxMs: number): string {
  const digits = maxMs < 10 ? 1 : 0;
  return `${minMs.toFixed(digits)} – ${maxMs.toFixed(digits)}`;
}
