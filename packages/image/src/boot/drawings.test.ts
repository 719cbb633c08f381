import { expect, test } from 'vitest';
import type { Manifest } from '../manifest.ts';
import type { BootReport, VmMemory } from './boot-image.ts';
import { drawChart } from './chart.ts';
import { guestInUse, guestParts, memoryLines, sharedImage } from './memory-table.ts';
import { drawSvg } from './svg.ts';

const mebibyte = 1024 * 1024;
const profile = {
  helloMs: [400, 390, 420],
  phases: [
    { name: 'firmware', part: false, beganMs: 0, medianMs: 100, minMs: 90, maxMs: 120 },
    { name: 'kernel', part: false, beganMs: 100, medianMs: 300, minMs: 290, maxMs: 310 },
    { name: 'hook <a&b>', part: true, beganMs: 100, medianMs: 7.25, minMs: 6, maxMs: 8 },
  ],
};
const manifest = {
  name: 'base',
  kernel: { release: '6.12', origin: 'built' },
  root: { filesystem: 'erofs', device: 'pmem' },
} as Manifest;
const report: BootReport & { profile: typeof profile } = {
  ...{ image: '/image', manifest, accel: 'tcg', vmMemoryBytes: 256 * mebibyte, profile },
};

test('a bar begins where the one before it ends', () => {
  expect(drawChart(profile)).toEqual([
    '                median  min – max',
    `  firmware      100 ms   90 – 120  ${'█'.repeat(12)}`,
    `  kernel        300 ms  290 – 310  ${' '.repeat(12)}${'█'.repeat(36)}`,
    `    hook <a&b>  7.3 ms  6.0 – 8.0  ${' '.repeat(12)}▉`,
    '  hello         400 ms  390 – 420',
  ]);
});

test('the picture is well-formed, whatever a step is called, and needs nothing else', () => {
  const svg = drawSvg(report);
  expect(svg).toContain('hook &lt;a&amp;b&gt;');
  expect(svg).toContain("base: QEMU's start to the agent's hello in 400 ms");
  expect(svg.match(/<rect /g)).toHaveLength(1 + profile.phases.length);
  expect(svg).not.toMatch(/NaN|undefined|href|<script|<style/);
});

const guest: VmMemory['guest'] = {
  totalBytes: 230 * mebibyte,
  freeBytes: 180 * mebibyte,
  availableBytes: 190 * mebibyte,
  pageCacheBytes: 10 * mebibyte,
  slabBytes: 5 * mebibyte,
  kernelStacksAndPageTablesBytes: 2 * mebibyte,
  anonymousBytes: 25 * mebibyte,
  shmemBytes: 1 * mebibyte,
  agentAnonymousBytes: 20 * mebibyte,
  agentFileBytes: 0,
};
const root = (residentBytes: number, proportionalBytes: number) =>
  [{ kind: 'root image', residentBytes, proportionalBytes }] as const;

test("the parts of a guest's memory add up to its RAM", () => {
  const parts = guestParts(guest, 256 * mebibyte);
  expect(parts.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(256 * mebibyte);
  expect(guestInUse(guest)).toEqual({ withoutCache: 40 * mebibyte, notAvailable: 40 * mebibyte });
});

test('what several VMs map of the image counts once', () => {
  const memory = [50, 40].map((mib) => ({ guest, host: root(mib * mebibyte, (mib / 2) * mebibyte) }));
  expect(sharedImage(memory)).toEqual({ mappedBytes: 90 * mebibyte, costBytes: 45 * mebibyte });
  expect(memoryLines({ ...report, memory }).join('\n')).toContain(
    'of the root image 2 VMs map 90.0 MiB, which cost 45.0 MiB: 45.0 MiB are shared',
  );
});
