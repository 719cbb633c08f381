/** How a run of the fault suite looks on a terminal: a line for each fault as it happens, and the table at the end. */
import type { FaultLine, FaultReport } from './saboteur.ts';

const MiB = 1024 * 1024;
const ms = (value: number): string => `${value.toFixed(0)} ms`;
const mib = (bytes: number): string => `${(bytes / MiB).toFixed(1)} MiB`;

export const liveHeader = row('time', '', 'fault', 'target', 'first byte', 'all streams', 'moved');

export function liveLine(line: FaultLine): string {
  return row(
    `${line.atSeconds.toFixed(1)} s`,
    `${line.number}/${line.ofNumber}`,
    line.kind,
    line.target,
    ms(line.firstMs),
    ms(line.allMs),
    mib(line.movedBytes),
  );
}

function row(...[time, number, kind, target, first, all, moved]: string[]): string {
  return [
    time!.padStart(8),
    number!.padStart(7),
    ' ',
    kind!.padEnd(26),
    target!.padEnd(16),
    first!.padStart(10),
    all!.padStart(12),
    moved!.padStart(12),
  ].join(' ');
}

export function closingTable(report: FaultReport): string {
  const { processes, lines, wrong } = report;
  const sum = (of: 'outBytes' | 'inBytes' | 'lostBytes' | 'doubledBytes') =>
    processes.reduce((total, process) => total + process[of], 0);
  return [
    '',
    faultTable(lines),
    '',
    `${'process'.padEnd(24)}${'out'.padStart(12)}${'in'.padStart(12)}${'lost'.padStart(7)}${'doubled'.padStart(9)}  exit code`,
    ...processes.map(
      ({ name, outBytes, inBytes, lostBytes, doubledBytes, exitCode, wrong: why }) =>
        `${name.padEnd(24)}${mib(outBytes).padStart(12)}${mib(inBytes).padStart(12)}${String(lostBytes).padStart(7)}${String(doubledBytes).padStart(9)}  ${exitCode}${why === undefined ? ', right' : ', WRONG'}`,
    ),
    '',
    `faults ${lines.length}, of them kills of the proxy ${report.kills}; ${report.seconds.toFixed(0)} s, driver ${report.driver}, seed ${report.seed}`,
    `bytes moved ${mib(sum('outBytes'))} out, ${mib(sum('inBytes'))} in; lost ${sum('lostBytes')}, doubled ${sum('doubledBytes')}`,
    ...(wrong.length === 0
      ? ['every byte and every exit code is right']
      : [
          '',
          'WRONG:',
          ...wrong,
          `again with: make faults FAULTS="--driver ${report.driver} --seed ${report.seed}"`,
        ]),
  ].join('\n');
}

function faultTable(lines: readonly FaultLine[]): string {
  const kinds = [...new Set(lines.map(({ kind }) => kind))].sort();
  const rows = kinds.map((kind) => {
    const all = lines.filter((line) => line.kind === kind);
    const first = all.map(({ firstMs }) => firstMs);
    const streams = all.map(({ allMs }) => allMs);
    const cells = [median(first), median(streams), Math.max(...streams)].map((value) =>
      ms(value).padStart(14),
    );
    return `${kind.padEnd(26)}${String(all.length).padStart(7)}${cells.join('')}`;
  });
  return [
    `${'fault'.padEnd(26)}${'times'.padStart(7)}${'first, median'.padStart(14)}${'all, median'.padStart(14)}${'slowest'.padStart(14)}`,
    ...rows,
  ].join('\n');
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
