/**
 * `coracle-tap live` at a real terminal: the program in a pty, its bytes shown by @xterm/headless, the real proxy and
 * agent below it. What is looked at is what an operator sees.
 */
import { get } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { Container, Sandbox } from '@coracle/client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { printable } from '../../packages/tap/src/words/text.ts';
import { run } from '../support/program.ts';
import { ScreenOf } from '../support/screen.ts';
import { type LocalPlace, makeLocalPlace, startIdle, until } from './local-sandbox.ts';

const program = fileURLToPath(new URL('../../packages/tap/src/main.ts', import.meta.url));
let place: LocalPlace;
let sandbox: Sandbox;
let web: Container;
const screens: ScreenOf[] = [];

beforeAll(async () => {
  place = await makeLocalPlace();
  sandbox = await place.startSandbox();
  web = await startIdle(sandbox, 'web');
});

afterEach(() => {
  for (const screen of screens.splice(0)) screen.close();
});

afterAll(async () => {
  await sandbox.destroy({ force: true });
  await place[Symbol.asyncDispose]();
});

interface Start {
  readonly args?: readonly string[];
  readonly size?: { readonly columns: number; readonly rows: number };
  readonly nodeArgs?: readonly string[];
  readonly socket?: string;
}

/** It is on the screen, and the capture has begun. */
async function live({ args = [], size, nodeArgs = [], socket = place.proxySocket }: Start = {}) {
  // In the environment, since whoever has the socket among its arguments is taken for a proxy here.
  const env = { PATH: process.env.PATH ?? '', TERM: 'xterm-256color', CORACLE_PROXY_SOCKET: socket };
  const command = [...nodeArgs, program, 'live', ...args];
  const screen = new ScreenOf(process.execPath, command, env, size);
  screens.push(screen);
  await screen.has(socket === place.proxySocket ? '● live' : '○ no proxy');
  return screen;
}

/** As it was before: the shell's own screen, its cursor, its modes. */
async function givenBack(screen: ScreenOf): Promise<void> {
  const text = await screen.text();
  expect(screen.terminal.buffer.active.type).toBe('normal');
  expect(text).not.toContain('SANDBOX');
  expect(screen.shown.lastIndexOf('\x1b[?25h')).toBeGreaterThan(screen.shown.lastIndexOf('\x1b[?25l'));
  const modes = await screen.modes();
  for (const mode of ['icanon', 'echo', 'isig', 'icrnl', 'opost'])
    expect(modes).toMatch(new RegExp(`(^|\\s)${mode}\\b`));
}

const flood = 'while :; do seq 1 100000; done';

test('a reader that stands still is seen, with who it is, at 80 by 24 and larger', async () => {
  const screen = await live();
  const stuck = await web.exec({ id: 'flood', args: ['sh', '-c', flood] });
  const small = await screen.has(
    /stdout .*█{8} +1\.0 MiB .*no credit \d.*\n.*↳ waits for client \d+ \(node, pid \d+\)/,
  );
  expect(small).toContain(sandbox.id);
  expect(small).toMatch(/▾ web\/flood .*client \d+, node +running/);
  await screen.has('1 stuck');
  expect(small.split('\n').every((line) => line.length <= 80)).toBe(true);
  screen.type('n');
  const told = await screen.has(/has no credit\. It may not be sent on since/);
  expect(told.replaceAll(/\s+/g, ' ')).toContain('whoever reads what it writes has stopped reading');

  screen.resize({ columns: 120, rows: 40 });
  const large = await screen.has(/SANDBOX \/ PROCESS \/ STREAM .*HISTORY/);
  expect(large).toContain('1 sandbox  ');
  expect(large.split('\n').at(-1)).toContain('q quit');

  stuck.stdout.resume();
  await screen.has(/stdout +[\d.]+ MiB\/s .*flowing/);
  stuck.signal('SIGKILL');
  await screen.has(/web\/flood .*signal 9/);
  screen.type('q');
  expect(await screen.ended()).toBe(0);
  await givenBack(screen);
});

test('what stood still before anybody looked is seen, and named by diagnose', async () => {
  const stuck = await web.exec({ id: 'early', args: ['sh', '-c', flood] });
  const links = async (): Promise<string> =>
    await new Promise((resolve, reject) => {
      const path = `/links?sandbox=${sandbox.id}`;
      get({ socketPath: `${place.proxySocket}.debug`, path, agent: false }, (response) => {
        response.setEncoding('utf8');
        let text = '';
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => resolve(text));
      }).on('error', reject);
    });
  await until(async () => (await links()).includes('"stalledForMs":'), 'it stands still');
  const screen = await live();
  await screen.has(/▾ #\d+ +– +client \d+, node +running *\n.*stdout +– +█{8} +1\.0 MiB +no credit \d/);
  await screen.has(/↳ waits for client \d+ \(node, pid \d+\)/);
  const args = [program, 'diagnose', sandbox.id, '--for', '1', '--proxy', place.proxySocket];
  const { code, stdout } = await run(process.execPath, args, {});
  expect([code, stdout]).toEqual([
    3,
    expect.stringMatching(/stdout of process \d+ has no credit \[no_credit\]/),
  ]);
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain('whoever reads what it writes has stopped reading');
  stuck.stdout.resume();
  await screen.has(/stdout .*flowing/);
  stuck.signal('SIGKILL');
  await stuck.wait();
});

test('the filter, folding and freezing change what is shown', async () => {
  const ticks = await web.exec({ id: 'ticks', args: ['sh', '-c', 'while :; do echo tick; sleep 0.1; done'] });
  ticks.stdout.resume();
  const screen = await live();
  const calm = await web.exec({ id: 'calm', args: ['sleep', '1000'] });
  await screen.has('web/calm');
  // Its own request was before the capture: a number is all that is known.
  await screen.has(/#\d+/);
  screen.type('/calm');
  const filtered = await screen.has(/filter: calm/);
  expect(filtered).toContain('web/calm');
  await until(async () => !/#\d+ /.test(await screen.text()), 'the other process is filtered out');
  screen.type('\r\x1b');
  await screen.has(/#\d+/);
  screen.type('\x1b[H\x1b[D');
  await screen.has(`▸ ${sandbox.id}`);
  expect(await screen.text()).not.toContain('web/calm');
  screen.type('\x1b[C');
  await screen.has('web/calm');
  screen.type('f');
  await screen.has('❄ frozen');
  calm.signal('SIGKILL');
  await calm.wait();
  expect(await screen.text()).toMatch(/web\/calm .*running/);
  screen.type('f');
  await screen.has(/web\/calm .*signal 9/);
  ticks.signal('SIGKILL');
  // No shell has started it: there is nobody to bring it back, and it stays.
  screen.type('\x1a');
  screen.type('f');
  await screen.has('❄ frozen');
  screen.type('\x03');
  expect(await screen.ended()).toBe(0);
});

test('content is shown only when it was asked for', async () => {
  const screen = await live();
  const secret = await web.exec({
    id: 'secret',
    args: ['sh', '-c', 'echo hunter2-swordfish; exec sleep 1000'],
  });
  secret.stdout.resume();
  await screen.has(/web\/secret/);
  screen.type('/secret\r\x1b[B\r');
  await screen.has('coracle-tap live --payload');
  expect(screen.shown).not.toContain('swordfish');
  secret.signal('SIGKILL');
});

/** What it may tell a terminal: where to write, in which colours, and when it comes and goes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OURS = /\x1b\[(?:\d+;\d+H|0(?:;\d+)*m|2J|\?(?:1049|25|7|2026)[hl])/g;

test('what a process prints never reaches the operator’s terminal as more than text', async () => {
  const screen = await live({ args: ['--payload'], size: { columns: 100, rows: 30 } });
  const words =
    '\\033]0;pwned\\007\\033[2J\\033[6n\\033P1$r\\033\\\\\\033[31mred\\033[0m \\302\\233 \\342\\200\\256turned \\344\\275\\240 ok';
  const evil = await web.exec({
    id: 'evil',
    args: ['sh', '-c', `printf '${words}'; exec sleep 1000`],
    terminal: { columns: 60, rows: 10 },
  });
  evil.stdout.resume();
  await screen.has(/web\/evil/);
  screen.type('/evil\r\x1b[B\r');
  const shown = await screen.has(/╭─ 60×10 [\s\S]*│.*red/);
  expect(shown).toContain('red');
  screen.type('\t');
  await screen.has('\\x1b]0;pwned\\x07\\x1b[2J');
  screen.type('\t');
  await screen.has(/00000000 {2}1b 5d 30 3b 70 77 6e 65/);
  screen.type('q');
  expect(await screen.ended()).toBe(0);
  const rest = Buffer.from(screen.shown, 'latin1').toString('utf8').replaceAll(OURS, '');
  expect(printable(rest)).toBe(rest);
  expect(screen.terminal.buffer.active.type).toBe('alternate');
  await givenBack(screen);
  evil.signal('SIGKILL');
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 130],
  ['SIGHUP', 130],
] as const)('%s gives the terminal back', async (signal, code) => {
  const screen = await live();
  process.kill(screen.pid, signal);
  expect(await screen.ended()).toBe(code);
  await givenBack(screen);
});

test('a crash gives the terminal back, and is told below', async () => {
  const crash = 'data:text/javascript,process.on("SIGUSR2",()=>{throw new Error("a fault of ours")})';
  const screen = await live({ nodeArgs: ['--import', crash] });
  process.kill(screen.pid, 'SIGUSR2');
  expect(await screen.ended()).not.toBe(0);
  await screen.has('a fault of ours');
  await givenBack(screen);
});

test('a proxy that is gone is said, and the next one is taken', async () => {
  await using other = await makeLocalPlace();
  const screen = await live({ socket: other.proxySocket });
  await screen.has('No proxy listens on');
  await other.ensureProxy();
  await screen.has('● live');
  await screen.has('No sandbox is connected');
  await other.killProxy();
  await screen.has('The proxy is gone; waiting for the next one on');
  await other.ensureProxy();
  await screen.has('● live');
});

test('it needs a terminal, and says so', async () => {
  const { code, stderr } = await run(process.execPath, [program, 'live'], {});
  expect([code, stderr]).toEqual([2, expect.stringContaining('live needs a terminal')]);
});

test('diagnose of a sandbox that runs names a reader that has stopped', async () => {
  const args = [program, 'diagnose', sandbox.id, '--for', '4', '--proxy', place.proxySocket];
  const clean = await run(process.execPath, [...args.slice(0, -3), '1', ...args.slice(-2)], {});
  expect([clean.code, clean.stdout]).toEqual([0, expect.stringContaining('Nothing is wrong')]);
  const started = Promise.withResolvers<void>();
  const told = run(process.execPath, args, {
    onStart: (child) =>
      child.stderr?.on('data', (text: string) => {
        if (text.includes('capturing')) started.resolve();
      }),
  });
  await started.promise;
  const stuck = await web.exec({ id: 'stuck', args: ['sh', '-c', flood] });
  const { code, stdout } = await told;
  expect(code).toBe(3);
  expect(stdout).toContain('stdout of exec stuck of web has no credit [no_credit]');
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain('whoever reads what it writes has stopped reading');
  expect(stdout).toMatch(/#\d+ .* WINDOW: stdout of exec stuck of web: delivered to/);
  stuck.signal('SIGKILL');
  const missing = await run(
    process.execPath,
    [program, 'diagnose', 'nobody', '--for', '0.2', ...args.slice(-2)],
    {},
  );
  expect([missing.code, missing.stderr]).toEqual([
    1,
    expect.stringContaining('nothing was seen of a sandbox nobody'),
  ]);
});
