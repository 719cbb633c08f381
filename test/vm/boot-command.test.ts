/** `coracle-image boot` as a program: what a start is made of, as JSON; an image that does not boot says why. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { checkout } from '../contract/place.ts';
import { guestImage } from './guest-image.ts';

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-b'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** With a folder for its own temporary ones, which has to be empty afterwards. */
async function boot(...args: string[]) {
  const TMPDIR = temporary();
  const ended = await new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      join(checkout, 'bin/coracle-image'),
      ['boot', ...args],
      { env: { ...process.env, TMPDIR } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
  expect(readdirSync(TMPDIR)).toEqual([]);
  return ended;
}

test('one run: the phases add up to the hello, and memory is told for guest and host', async () => {
  const svg = join(temporary(), 'boot.svg');
  const ended = await boot(guestImage(), '--runs', '1', '--memory', '--svg', svg, '--json');
  expect(ended).toMatchObject({ code: 0 });
  const { profile, memory } = JSON.parse(ended.stdout);
  const [helloMs] = profile.helloMs;
  const whole = profile.phases.filter(({ part }: { part: boolean }) => !part);
  const sum = whole.reduce((ms: number, { medianMs }: { medianMs: number }) => ms + medianMs, 0);
  expect(sum).toBeCloseTo(helloMs, 0);
  expect(whole.map(({ name }: { name: string }) => name)).toContain("Node, to the agent's main");
  expect(memory).toHaveLength(1);
  expect(memory[0].guest.agentAnonymousBytes).toBeGreaterThan(1 << 20);
  expect(
    memory[0].host.find(({ kind }: { kind: string }) => kind === 'guest RAM').residentBytes,
  ).toBeGreaterThan(1 << 20);
  expect(readFileSync(svg, 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
});

test('an image that does not boot says how far it came and what to do', async () => {
  const image = join(temporary(), 'image');
  cpSync(guestImage(), image, { recursive: true });
  const path = join(image, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  manifest.kernel.arguments.push('coracle.link=nonsense');
  writeFileSync(path, JSON.stringify(manifest));
  const ended = await boot(image, '--runs', '1');
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).toContain('does not boot: the VM ended before its agent answered');
  expect(ended.stderr).toContain('stage reached: agent');
  expect(ended.stderr).toContain("coracle.link=nonsense on the kernel's command line is no link");
});
