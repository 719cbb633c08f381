import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bootFailure, bootReport, describeBoot, parseConsole } from './boot.ts';
import { temporaryFolder } from './testing.ts';

const firmware = '\u001bc\u001b[?7l\u001b[2J\u001b[0mSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n';
const loader = 'Booting from ROM...\r\n\u001bc\u001b[?7l\u001b[2J';

test.each([
  ['', undefined],
  [firmware, 'firmware'],
  [firmware + loader, 'kernel'],
  [`${firmware + loader}coracle-boot: initrd\r\n`, 'initrd'],
  [`${firmware + loader}coracle-boot: initrd\r\ncoracle-boot: modules\r\ncoracle-boot: root\r\n`, 'root'],
  [`${firmware + loader}coracle-boot: initrd\r\ncoracle-boot: agent\r\nhello\r\n`, 'agent'],
] as const)('the console %j was in the stage %s', (console, stage) => {
  expect(parseConsole(console).stage).toBe(stage);
});

test('the reason of the initrd and the last lines are reported, without what steers a terminal', () => {
  const folder = temporaryFolder();
  const noise = Array.from({ length: 50 }, (_, i) => `line ${i}\r\n`).join('');
  const evil = '\u001b]0;title\u0007\u009b31mred\r\n';
  writeFileSync(
    join(folder, 'console.log'),
    `${firmware + loader}coracle-boot: root\r\n${noise}${evil}coracle-boot: failed: there is no disk\r\n`,
  );
  writeFileSync(join(folder, 'qemu.log'), 'qemu-system-x86_64: terminating on signal 15 from pid 1\n');
  const report = bootReport(folder);
  expect(report.stage).toBe('root');
  expect(report.failure).toBe('there is no disk');
  expect(report.consoleLines).toHaveLength(20);
  const text = describeBoot(report);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be left.
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  expect(text).toContain('line 49');
  const error = bootFailure(folder, 'the agent did not answer within 30000 ms');
  expect(error.code).toBe('boot-failed');
  expect(error.message).toMatch(
    /^the agent did not answer[\s\S]*stage reached: root[\s\S]*Somebody ended QEMU/,
  );
});

test('of a console of gigabytes only the ends are read', () => {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder, 'console.log'),
    `${firmware + loader}${'x'.repeat(4 << 20)}\ncoracle-boot: agent\n`,
  );
  expect(bootReport(folder)).toMatchObject({ stage: 'agent', qemuLines: [] });
});

test('a folder without logs gives an empty report', () => {
  expect(bootReport('/nowhere')).toMatchObject({ stage: undefined, consoleLines: [], qemuLines: [] });
});
