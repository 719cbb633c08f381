/**
 * `coracle-tap replay` of the captures in test/captures: a fresh proxy and a fresh agent, and what went wrong because of
 * what clients did goes wrong again. Faster than it was, and judged by seconds that are as much shorter.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readCapture } from '@coracle/tap';
import { FrameType } from '@coracle/wire';
import { afterAll, expect, test } from 'vitest';
import { allProcesses } from '../support/processes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'coracle-'));
afterAll(() => rmSync(folder, { recursive: true }));

function replay(name: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const program = join(root, 'packages/tap/src/main.ts');
  const capture = join(root, 'test/captures', `${name}.pcapng`);
  return new Promise((resolve) => {
    const environment = { ...process.env, TMPDIR: folder };
    execFile(
      process.execPath,
      [program, 'replay', capture, ...args],
      { env: environment },
      (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

/** What clients did, or did not do. */
const ofClients = [
  ['stuck-reader', ['no_credit']],
  ['exit-waits-for-credit', ['exit_waits']],
  ['exit-waits-for-reader', ['exit_waits']],
  ['stdin-not-read', ['no_credit']],
  ['client-gone', ['client_gone']],
  ['client-breaks-rules', ['protocol_violation']],
  ['two-owners', ['taken_over']],
  ['wrong-token', ['refused']],
  ['terminal-without-size', ['terminal_size']],
  ['proxy-killed-often', ['reconnect_loop']],
] as const;

test.each(ofClients)('%s goes wrong again', async (name, causes) => {
  const { code, stdout, stderr } = await replay(`failures/${name}`, '--speed', '2', '--json');
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toMatchObject({ recorded: causes, replayed: causes, same: true });
  expect(code).toBe(0);
});

test.each(['echo', 'slow-reader', 'input', 'many-execs', 'killed-proxy'])(
  '%s is as healthy again',
  async (name) => {
    const { code, stdout, stderr } = await replay(`healthy/${name}`, '--speed', '2');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('zeros of the same lengths');
    expect(stdout).toContain('Replayed: nothing is wrong.\nThe same causes.');
  },
);

test('a guest that was stopped is not stopped again: the fault was not in what clients did', async () => {
  const { code, stdout } = await replay('failures/agent-stopped', '--speed', '2');
  expect(code).toBe(3);
  expect(stdout).toContain('Recorded: ListProcesses of web is not answered [request_unanswered]');
  expect(stdout).toContain('Replayed: nothing is wrong.\nNot the same causes.');
});

/** Bytes of streams of one kind, each once, by where they stand. */
async function bytesOf(path: string, kind: number): Promise<string> {
  const bytes = Buffer.alloc(10_000);
  let end = 0;
  await readCapture(path, {
    record: (record) => {
      if (record.isEvent || record.type !== FrameType.DATA || record.id % 4 !== kind) return;
      record.payload.copy(bytes, record.offset);
      end = Math.max(end, record.offset + record.length);
    },
  });
  return bytes.toString('latin1', 0, end);
}

test('a session with its payload is played byte for byte, sizes too', async () => {
  const output = join(folder, 'terminal.pcapng');
  const { code, stdout } = await replay('healthy/terminal', '--speed', '4', '--payload', '--output', output);
  expect([code, stdout]).toEqual([0, expect.not.stringContaining('zeros')]);
  const recorded = join(root, 'test/captures/healthy/terminal.pcapng');
  for (const kind of [0, 1, 2]) expect(await bytesOf(output, kind)).toBe(await bytesOf(recorded, kind));
  expect(await bytesOf(output, 2)).toContain('\x1b[1;32mgreen');
});

test('nothing is left behind', () => {
  expect(readdirSync(folder)).toEqual(['terminal.pcapng']);
  expect(allProcesses().filter(({ commandLine }) => commandLine.includes(folder))).toEqual([]);
});
