/**
 * Shims that lose their proxy start it again, one of them at a time: it takes the proxy's lock first and hands it on
 * to what it starts. The start program here writes down its pid and becomes the real proxy.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container } from '@coracle/client';
import { close, connectUnix, peerCredentials, waitForExit } from '@coracle/sys';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type LocalPlace, makeLocalPlace, startIdle, until } from './local-sandbox.ts';

const shimProgram = process.env.CORACLE_SHIM ?? new URL('../../bin/coracle-shim', import.meta.url).pathname;
const SHIMS = 10;
const deadlineMs = 45_000;

let place: LocalPlace;
let undo: AsyncDisposableStack;
let shims: Shim[];

interface Shim {
  readonly child: ChildProcess;
  /** Resolves when the line has come back from `cat`. */
  echo(line: string): Promise<void>;
}

beforeEach(async () => {
  undo = new AsyncDisposableStack();
  place = undo.use(await makeLocalPlace());
  writeFileSync(
    path('start'),
    `#!/bin/sh
echo $$ >> ${path('starts')}
if [ -e ${path('hang')} ]; then rm ${path('hang')}; exec sleep 1000; fi
exec ${place.proxyCommand.join(' ')} --lock-fd 3
`,
    { mode: 0o755 },
  );
  const sandbox = undo.use(await place.startSandbox());
  const container = await startIdle(sandbox, 'c');
  shims = await Promise.all(Array.from({ length: SHIMS }, () => startShim(sandbox.id, container)));
  await echoed('attached');
}, deadlineMs);

afterEach(async () => {
  await using _ = undo;
  for (const { child } of shims) {
    child.stdin?.end();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
  }
}, deadlineMs);

test('ten shims whose proxy is killed start one', { timeout: deadlineMs }, async () => {
  for (let kill = 1; kill <= 3; kill++) {
    await killProxy();
    await echoed(`kill ${kill}`);
    expect(starts()).toHaveLength(kill);
    expect(listener()).toBe(starts().at(-1));
  }
  // Somebody who starts one meanwhile finds the lock taken, and leaves.
  await place.ensureProxy();
  expect(starts()).toHaveLength(3);
  expect(readFileSync(`${place.proxySocket}.log`, 'utf8')).toContain(`"pid":${starts().at(-1)}`);
});

// With a lock that only the living let go, ten shims would wait for ever for a starter that nobody has seen end.
test('a starter that is killed before it listens is followed by another', {
  timeout: deadlineMs,
}, async () => {
  writeFileSync(path('hang'), '');
  await killProxy();
  await until(() => starts().length === 1 && !existsSync(path('hang')), 'one hangs');
  process.kill(starts()[0]!, 'SIGKILL');
  await echoed('after all');
  expect(starts()).toHaveLength(2);
});

// The shim that started the proxy is its parent, and all the others need it too.
test('a shim that is killed takes no proxy with it', { timeout: deadlineMs }, async () => {
  await killProxy();
  await echoed('before');
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${starts()[0]}/status`, 'utf8'))?.[1]);
  const index = shims.findIndex(({ child }) => child.pid === parent);
  const [starter] = shims.splice(index, 1);
  starter!.child.kill('SIGKILL');
  await once(starter!.child, 'exit');
  await echoed('after');
  expect(starts()).toHaveLength(1);
});

/** kill -9 of who listens; others have the socket in their arguments too. */
async function killProxy(): Promise<void> {
  const pid = listener();
  process.kill(pid, 'SIGKILL');
  await waitForExit(pid);
}

function listener(): number {
  const fd = connectUnix(place.proxySocket);
  try {
    return peerCredentials(fd).pid;
  } finally {
    close(fd);
  }
}

function path(name: string): string {
  return join(place.directory, name);
}

/** The pids of all proxies that shims have started. */
function starts(): number[] {
  if (!existsSync(path('starts'))) return [];
  return readFileSync(path('starts'), 'utf8').trimEnd().split('\n').map(Number);
}

async function echoed(line: string): Promise<void> {
  await Promise.all(shims.map((shim) => shim.echo(line)));
}

async function startShim(sandboxId: string, container: Container): Promise<Shim> {
  const { handle } = await container.exec({ args: ['cat'], stdin: true, attach: false });
  const args = [
    ...['--socket', place.proxySocket, '--sandbox', sandboxId, '--process', `${handle.process}`, '--stdin'],
    ...['--start-proxy', path('start')],
  ];
  const env = { ...process.env, CORACLE_TOKEN: Buffer.from(handle.token).toString('hex') };
  const child = spawn(shimProgram, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  let seen = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text;
  });
  return {
    child,
    async echo(line) {
      child.stdin.write(`${line}\n`);
      await until(() => seen.endsWith(`${line}\n`), `${line} comes back`);
    },
  };
}
