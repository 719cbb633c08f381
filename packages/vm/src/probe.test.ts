import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cacheDirectory, probeKvm, trialBoot } from './probe.ts';
import { temporaryFolder } from './testing.ts';

/** A program in QEMU's place: what KVM does cannot be had on every machine, what the probe makes of it can. */
function fixture(script: string) {
  const folder = temporaryFolder();
  const qemu = join(folder, 'qemu');
  writeFileSync(qemu, `#!/bin/sh\necho run >>${folder}/runs\n${script}\n`, { mode: 0o755 });
  const image = { kernel: '/k', initrd: '/i', root: undefined, kernelArguments: [], bootDigest: 'digest' };
  const runs = () => readFileSync(join(folder, 'runs'), 'utf8').trim().split('\n').length;
  return { qemu, image, runs, deadlineMs: 300, cacheDirectory: join(folder, 'cache') };
}

const boots = "echo 'SeaBIOS'; echo 'coracle-boot: initrd'; exec sleep 60";

test.each([
  [boots, true, /^reached the initrd after \d+ ms$/],
  [
    "echo 'SeaBIOS (version)'; exec sleep 60",
    false,
    /^hung after the firmware, before the kernel said anything/,
  ],
  ["echo 'Linux version 6.1'; exec sleep 60", false, /^hung in the kernel/],
  ['exec sleep 60', false, /^hung before the firmware said anything/],
  [
    'echo "kvm: no such luck" >&2; exit 1',
    false,
    /^ended before the firmware said anything: kvm: no such luck$/,
  ],
] as const)('a trial that does %j', async (script, expected, detail) => {
  const { boots, detail: said } = await trialBoot(fixture(script));
  expect(boots).toBe(expected);
  expect(said).toMatch(detail);
});

test('the answer is kept, also from processes that ask at the same time', async () => {
  const options = fixture(boots);
  const told: string[] = [];
  const ask = () => probeKvm({ ...options, onProgress: (message) => told.push(message) });
  const answers = await Promise.all([ask(), ask(), ask()]);
  expect(answers.every((answer) => answer.boots)).toBe(true);
  expect(await ask()).toEqual(answers[0]);
  expect(options.runs()).toBe(1);
  expect(told).toHaveLength(1);
  expect(readdirSync(join(options.cacheDirectory, 'kvm'))).toHaveLength(2);
});

test('another kernel is another question, and a damaged answer none', async () => {
  const options = fixture(boots);
  await probeKvm(options);
  await probeKvm({ ...options, image: { ...options.image, bootDigest: 'other' } });
  expect(options.runs()).toBe(2);
  const folder = join(options.cacheDirectory, 'kvm');
  for (const name of readdirSync(folder)) if (name !== 'lock') writeFileSync(join(folder, name), '{"boo');
  await probeKvm(options);
  expect(options.runs()).toBe(3);
});

test('an abort ends the trial, and no answer is kept', async () => {
  const options = fixture('exec sleep 60');
  const controller = new AbortController();
  const probing = probeKvm({ ...options, deadlineMs: 60_000, signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(probing).rejects.toThrow('enough');
  mkdirSync(join(options.cacheDirectory, 'kvm'), { recursive: true });
  expect(readdirSync(join(options.cacheDirectory, 'kvm')).filter((name) => name !== 'lock')).toEqual([]);
});

test.each([
  [{ CORACLE_CACHE: '/c', XDG_CACHE_HOME: '/x', HOME: '/h' }, '/c'],
  [{ XDG_CACHE_HOME: '/x', HOME: '/h' }, '/x/coracle'],
  [{ XDG_CACHE_HOME: 'relative', HOME: '/h' }, '/h/.cache/coracle'],
  [{}, '/var/cache/coracle'],
])('the cache of %j is %s', (env, expected) => {
  expect(cacheDirectory(env)).toBe(expected);
});
