/** Draws docs/live.svg anew: `coracle-tap live` at a real terminal, with a reader that has stopped and one that has not: `tsx test/support/live-picture.ts`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Container } from '@coracle/client';
import { containerConfig, makeLocalPlace } from '../local/local-sandbox.ts';
import { ScreenOf } from './screen.ts';
import { pictureOf } from './screen-picture.ts';
import { until } from './wait.ts';

const root = join(import.meta.dirname, '../..');
await using place = await makeLocalPlace();
await place.ensureProxy();
await using undo = new AsyncDisposableStack();

async function container(id: string): Promise<Container> {
  const sandbox = await place.startSandbox();
  undo.defer(async () => await sandbox.destroy({ force: true }));
  const rootfs = { share: 'host', path: 'rootfs' };
  const made = await sandbox.createContainer({ id, config: containerConfig(['sleep', '1000']), rootfs });
  await made.start();
  return made;
}

const screen = new ScreenOf(
  process.execPath,
  [join(root, 'packages/tap/src/main.ts'), 'live'],
  { PATH: process.env.PATH ?? '', TERM: 'xterm-256color', CORACLE_PROXY_SOCKET: place.proxySocket },
  { columns: 112, rows: 28 },
);
undo.defer(() => screen.close());
await screen.has('● live');
const web = await container('web');
const db = await container('db');
const shell = (command: string): string[] => ['sh', '-c', command];
await web.exec({ id: 'build', args: shell('while :; do seq 1 100000; done') });
const log = await web.exec({
  id: 'log',
  args: shell('n=1; while :; do seq 1 $((n * 900)); n=$((n % 7 + 1)); sleep 0.25; done'),
});
log.stdout.resume();
const top = await db.exec({ id: 'top', args: ['top', '-d', '1'], terminal: { columns: 80, rows: 24 } });
top.stdout.resume();
const restore = await db.exec({ id: 'restore', args: ['cat'], stdin: true });
const moved = setInterval(
  () => restore.stdin.write(Buffer.alloc(1 + Math.floor(Math.random() * 400_000))),
  250,
);
undo.defer(() => clearInterval(moved));
restore.stdout.resume();
await until(async () => /no credit 1\d s/.test(await screen.text()), 'the reader stands still', 60_000);
screen.type('n');
await screen.has('has no credit. It may not be sent on');
writeFileSync(join(root, 'docs/live.svg'), pictureOf(screen.terminal, 'coracle-tap live'));
screen.type('q');
await screen.ended();
