/** The program itself on the captures of this repository; docs/debugging.md shows what it really prints. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'coracle-tap-'));
afterAll(() => rmSync(folder, { recursive: true }));

function tap(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const program = join(root, 'packages/tap/src/main.ts');
    const env = { ...process.env, TZ: 'UTC' };
    execFile(process.execPath, [program, ...args], { cwd: root, env }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

const page = readFileSync(join(root, 'docs/debugging.md'), 'utf8');
const shown = [...page.matchAll(/```\n\$ coracle-tap (.*)\n([^`]*)\n```/g)].map(
  ([, command = '', output = '']) => [command, output] as const,
);

it('docs/debugging.md tells its three stories', () => expect(shown.length).toBe(7));

it.each(shown)('docs/debugging.md: %s', async (command, output) => {
  expect((await tap(...command.split(' '))).stdout.trimEnd()).toBe(output);
});

const terminal = 'test/captures/healthy/terminal.pcapng';

it('cast writes output and sizes, and input only when it is asked for', async () => {
  const events = async (...options: string[]): Promise<[number, string, string][]> => {
    const path = join(folder, `${options.length}.cast`);
    expect(await tap('cast', terminal, 'web/shell', '--output', path, ...options)).toMatchObject({
      code: 0,
      stderr: '',
    });
    const [head = '', ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(JSON.parse(head)).toMatchObject({ version: 2, width: 80, height: 24 });
    return lines.map((line) => JSON.parse(line));
  };
  const of = (list: [number, string, string][], wanted: string): string =>
    list.flatMap(([, code, data]) => (code === wanted ? [data] : [])).join('');
  const plain = await events();
  expect(of(plain, 'o')).toContain('\x1b[1;32mgreen\x1b[0m and \x1b[31mred\x1b[0m');
  expect([of(plain, 'r'), of(plain, 'i')]).toEqual(['100x30', '']);
  expect(of(await events('--input'), 'i')).toMatch(/^stty size\rstty size\r/);
});

it('decode reads messages by the schema that it is given', async () => {
  const { stdout } = await tap('decode', terminal, '--proto', 'proto', '--exec', 'shell', '--json');
  const [request, answer] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(request).toMatchObject({
    method: 'ExecProcess',
    message: { container_id: 'web', exec_id: 'shell', columns: 80 },
  });
  expect(answer).toMatchObject({
    kind: 'response',
    message: { process: { terminal: true, token: '<16 bytes>' } },
  });
});

it.each([
  [['show', 'no-such-file'], 1, /cannot open the capture no-such-file/],
  [['show', 'README.md'], 1, /README.md is no capture in pcapng/],
  [['show', terminal, '--type', 'DATE'], 2, /there is no type DATE; there are DATA/],
  [['show', terminal, '--from', 'noon'], 2, /--from needs a time like/],
  [['follow', terminal, 'web.stdout'], 1, /no frame of web.stdout is in/],
  [['follow', terminal, 'web'], 2, /web is no stream: STREAM is/],
  [
    ['cast', 'test/captures/failures/terminal-without-size.pcapng', 'web/shell', '-o', '/nonexistent/x'],
    1,
    /record it with --payload/,
  ],
  [['record'], 2, /--output FILE is missing/],
  [['sho', terminal], 2, /there is no command sho/],
] as const)('coracle-tap %j fails with %i and says why', async (args, code, says) => {
  const result = await tap(...args);
  expect(result.stderr).toMatch(says);
  expect(result.code).toBe(code);
});
