/**
 * Hooks, as runtime.md and config.md of the OCI runtime specification have them. With the local driver: what hooks see of a
 * container's network namespace is the shim's, here as with a VM; the processes of a local container stay in the host's.
 */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { RuntimePlace } from './runtime-place.ts';

interface Hook {
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly timeout?: number;
}

function makePlace(): RuntimePlace {
  const place = new RuntimePlace();
  onTestFinished(() => place[Symbol.asyncDispose]());
  return place;
}

const shell = (script: string, rest: Partial<Hook> = {}): Hook => ({
  path: '/bin/sh',
  args: ['sh', '-c', script],
  ...rest,
});

const withHooks =
  (hooks: Record<string, readonly Hook[]>) =>
  (config: never): void => {
    Object.assign(config, { hooks, annotations: { 'org.example.key': 'value' } });
  };

test('each runs at its time, with the state on its stdin and the environment that it was given', async () => {
  const place = makePlace();
  const seen = join(place.folder, 'seen');
  // The pid's namespace is read while the process is there.
  const note = (kind: string): Hook =>
    shell(
      `state=$(cat); pid=$(echo "$state" | sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p')
       echo "{\\"kind\\":\\"${kind}\\",\\"word\\":\\"$WORD\\",\\"net\\":\\"$(readlink /proc/$pid/ns/net)\\",\\"state\\":$state}" >> ${seen}`,
      { env: ['WORD=a=b', 'PATH=/usr/bin:/bin'] },
    );
  const kinds = ['prestart', 'createRuntime', 'poststart', 'poststop'];
  const hooks = {
    ...Object.fromEntries(kinds.map((kind) => [kind, [note(kind)]])),
    // Inside: the container's own programs and files.
    startContainer: [{ path: '/bin/sh', args: ['sh', '-c', 'cat > /tmp/started'], env: ['PATH=/bin'] }],
  };
  const bundle = place.bundle(['sleep', '100'], withHooks(hooks));
  const lines = () =>
    readFileSync(seen, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  expect(await place.coracle(['create', '--bundle', bundle, 'c'])).toMatchObject({ code: 0, stderr: '' });
  const { pid } = JSON.parse((await place.coracle(['state', 'c'])).stdout);
  const state = { ociVersion: '1.0.2', id: 'c', bundle, annotations: { 'org.example.key': 'value' } };
  const net = readlinkSync(`/proc/${pid}/ns/net`);
  const inCreate = { word: 'a=b', net, state: { ...state, pid, status: 'creating' } };
  expect(lines()).toEqual([
    { kind: 'prestart', ...inCreate },
    { kind: 'createRuntime', ...inCreate },
  ]);
  // A namespace of its own was asked for.
  expect(net).not.toBe(readlinkSync('/proc/self/ns/net'));
  expect(await place.coracle(['start', 'c'])).toMatchObject({ code: 0, stderr: '' });
  expect(lines()[2]).toEqual({
    kind: 'poststart',
    word: 'a=b',
    net,
    state: { ...state, pid, status: 'running' },
  });
  expect(JSON.parse(readFileSync(join(place.rootfs, 'tmp/started'), 'utf8'))).toMatchObject({ id: 'c' });
  expect(await place.coracle(['delete', '--force', 'c'])).toMatchObject({ code: 0, stderr: '' });
  expect(lines()[3]).toEqual({
    kind: 'poststop',
    word: 'a=b',
    net: '',
    state: { ...state, status: 'stopped' },
  });
  expect(lines()).toHaveLength(4);
  expect(place.leftovers()).toEqual([]);
});

test('one that fails or takes too long fails the creation, which is undone; poststop hooks run all the same', async () => {
  const place = makePlace();
  const gone = join(place.folder, 'gone');
  const poststop = [shell(`cat > /dev/null; echo gone >> ${gone}`)];
  // What it leaves behind holds its output open, and nobody up.
  const failing = shell('sleep 5 & echo no such network >&2; exit 3');
  const cases: [Record<string, Hook[]>, RegExp][] = [
    [
      { prestart: [shell('true'), failing] },
      /error running prestart hook #1 \(\/bin\/sh\): exit status 3: no such network/,
    ],
    [
      { createRuntime: [shell('exec sleep 1000', { timeout: 1 })] },
      /createRuntime hook #0 .*: did not end within 1 s/,
    ],
    [
      { createRuntime: [{ path: '/no/such/hook' }] },
      /createRuntime hook #0 \(\/no\/such\/hook\): no such file/,
    ],
  ];
  for (const [hooks, message] of cases) {
    const bundle = place.bundle(['sleep', '100'], withHooks({ ...hooks, poststop }));
    const ended = await place.coracle(['create', '--bundle', bundle, 'c']);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(message);
    expect(place.leftovers().filter((line) => !line.includes('sleep'))).toEqual([]);
  }
  expect(readFileSync(gone, 'utf8')).toBe('gone\n'.repeat(cases.length));
});

test('a poststart or poststop hook that fails is a warning', async () => {
  const place = makePlace();
  const hooks = { poststart: [shell('echo late >&2; exit 1')], poststop: [shell('exit 2'), shell('exit 3')] };
  const bundle = place.bundle(['true'], withHooks(hooks));
  const ended = await place.coracle(['run', '--bundle', bundle, 'c']);
  expect(ended.code).toBe(0);
  expect(ended.stderr).toMatch(/poststart hook #0 .*exit status 1: late/);
  expect(ended.stderr).toMatch(/poststop hook #0 .*exit status 2.*#1 .*exit status 3/s);
  expect(place.leftovers()).toEqual([]);
});

test('a createContainer hook is refused, and says what to use instead', async () => {
  const place = makePlace();
  const made = join(place.folder, 'made');
  const hooks = { createContainer: [shell(`touch ${made}`)], poststop: [shell(`touch ${made}`)] };
  const ended = await place.coracle(['create', '--bundle', place.bundle(['true'], withHooks(hooks)), 'c']);
  expect(ended.code).toBe(1);
  expect(ended.stderr).toMatch(/createContainer hook \/bin\/sh .*use a createRuntime hook/);
  expect(existsSync(made)).toBe(false);
});
