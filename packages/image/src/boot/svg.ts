/** The same chart as a picture that needs nothing else: no script, no style sheet, no font of its own. */

import type { BootReport, Profile } from './boot-image.ts';
import { formatMs } from './chart.ts';
import { describeImage } from './describe.ts';
import { foldSmallParts, median, type PhaseSummary } from './phases.ts';

const width = 960;
const labels = 250;
const numbers = 120;
const right = 28;
const rowHeight = 30;
const partHeight = 20;
const top = 92;
const colours = ['#64748b', '#94a3b8', '#2563eb', '#7c3aed', '#059669', '#d97706'];
const ink = '#0f172a';
const faint = '#64748b';

export function drawSvg(report: BootReport & { readonly profile: Profile }): string {
  const { helloMs } = report.profile;
  const phases = foldSmallParts(report.profile.phases);
  // The lines must fit, too.
  const wholeMs = Math.max(
    1,
    ...phases.map(({ beganMs, part, medianMs, maxMs }) => beganMs + (part ? medianMs : maxMs)),
  );
  const left = labels + numbers;
  const x = (ms: number): number => left + (ms / wholeMs) * (width - left - right);
  const heights = phases.map(({ part }) => (part ? partHeight : rowHeight));
  const bottom = top + heights.reduce((sum, height) => sum + height, 0);
  const height = bottom + 52;
  const rows: string[] = [];
  let colour = -1;
  let y = top;
  phases.forEach((phase, index) => {
    if (!phase.part) colour++;
    rows.push(drawRow(phase, y, heights[index] ?? rowHeight, x, colours[colour % colours.length] ?? ink));
    y += heights[index] ?? rowHeight;
  });
  const range = `${Math.min(...helloMs).toFixed(0)} – ${Math.max(...helloMs).toFixed(0)}`;
  const title = `${report.manifest.name}: QEMU's start to the agent's hello in ${formatMs(median(helloMs))}`;
  const runs =
    helloMs.length === 1
      ? '1 run'
      : `medians of ${helloMs.length} runs (${range} ms), lines from least to most`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" role="img">
<title>${escapeXml(title)}</title>
<rect width="${width}" height="${height}" rx="8" fill="#ffffff"/>
${text(24, 36, title, { size: 19, weight: 600 })}
${text(24, 60, `${describeImage(report)}; ${runs}`, { size: 12.5, fill: faint })}
${grid(wholeMs, x, top - 8, bottom + 6)}
${rows.join('\n')}
</svg>
`;
}

function drawRow(
  { name, part, beganMs, medianMs, minMs, maxMs }: PhaseSummary,
  y: number,
  height: number,
  x: (ms: number) => number,
  colour: string,
): string {
  const middle = y + height / 2;
  const thick = part ? 8 : 18;
  const from = x(beganMs);
  const drawn = Math.max(1.5, x(beganMs + medianMs) - from);
  const size = part ? 11.5 : 13.5;
  const baseline = middle + size / 3;
  const fill = part ? faint : ink;
  const spread = maxMs > minMs && !part ? whisker(x(beganMs + minMs), x(beganMs + maxMs), middle) : '';
  return [
    text(part ? 40 : 24, baseline, name, { size, fill }),
    text(labels + numbers - 16, baseline, formatMs(medianMs), { size, fill, anchor: 'end' }),
    `<rect x="${fixed(from)}" y="${fixed(middle - thick / 2)}" width="${fixed(drawn)}" height="${thick}" rx="2" fill="${colour}"${part ? ' fill-opacity="0.55"' : ''}/>`,
    spread,
  ].join('');
}

function whisker(from: number, to: number, y: number): string {
  const ends = [from, to].map((at) => `M${fixed(at)} ${fixed(y - 4)}v8`).join('');
  return `<path d="M${fixed(from)} ${fixed(y)}H${fixed(to)}${ends}" stroke="${ink}" stroke-opacity="0.55" fill="none"/>`;
}

function grid(wholeMs: number, x: (ms: number) => number, from: number, to: number): string {
  const step = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((one) => wholeMs / one <= 10) ?? 10_000;
  const lines: string[] = [];
  for (let ms = 0; ms <= wholeMs; ms += step) {
    const at = fixed(x(ms));
    lines.push(`<path d="M${at} ${from}V${to}" stroke="#e2e8f0"/>`);
    lines.push(
      text(x(ms), to + 18, ms === 0 ? '0 ms' : String(ms), { size: 11, fill: faint, anchor: 'middle' }),
    );
  }
  return lines.join('\n');
}

interface TextStyle {
  readonly size: number;
  readonly weight?: number;
  readonly fill?: string;
  readonly anchor?: 'middle' | 'end';
}

function text(x: number, y: number, words: string, { size, weight, fill = ink, anchor }: TextStyle): string {
  const more = `${weight ? ` font-weight="${weight}"` : ''}${anchor ? ` text-anchor="${anchor}"` : ''}`;
  return `<text x="${fixed(x)}" y="${fixed(y)}" font-size="${size}" fill="${fill}"${more}>${escapeXml(words)}</text>`;
}

function fixed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

function escapeXml(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
