/**
 * `coracle debug` on real containers: what is in its archive, what is never in it, and what it does when the proxy or the
 * agent hang.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readCapture } from '@coracle/tap';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allProcesses } from '../support/processes.ts';
import { until } from '../support/wait.ts';
import { RuntimePlace } from './runtime-place.ts';

let place: RuntimePlace;
/** In the environment, the arguments, annotations, hooks and the output of the container and of an exec. */
const secret = 'hunter2-correct-horse';

beforeAll(async () => {
  place = new RuntimePlace();
  const bundle = place.bundle(
    ['sh', '-c', `echo ${secret}-printed; exec sleep 100000`],
    (config: { process: { env: string[] }; annotations?: Record<string, string> }) => {
      config.process.env.push(`PASSWORD=${secret}-environment`);
      config.annotations = { key: `${secret}-annotation` };
    },
  );
  const started = await place.coracle(['run', '--detach', '--bundle', bundle, 'web']);
  expect(started, started.stderr).toMatchObject({ code: 0 });
  const exec = await place.coracle([
    'exec',
    '--env',
    `TOKEN=${secret}-exec`,
    'web',
    'echo',
    `${secret}-argument`,
  ]);
  expect(exec.stdout).toContain(secret);
});

afterAll(async () => {
  await place.coracle(['delete', '--force', 'web']);
  await place[Symbol.asyncDispose]();
});

/** @returns its files by name, and what was said */
async function debug(id: string, ...options: string[]) {
  const folder = mkdtempSync(join(place.folder, 'debug-'));
  const archive = join(folder, 'a.tar.gz');
  const ended = await place.coracle(['debug', '--output', archive, ...options, id], {
    env: { UNRELATED: `${secret}-of-the-caller` },
  });
  expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: `${archive}\n` });
  expect(statSync(archive).mode & 0o777).toBe(0o600);
  execFileSync('tar', ['-xzf', archive, '-C', folder]);
  const inside = join(folder, `coracle-debug-${id}`);
  const files = Object.fromEntries(
    readdirSync(inside).map((name) => [name, readFileSync(join(inside, name))]),
  );
  for (const [name, content] of Object.entries(files)) expect(content.includes(secret), name).toBe(false);
  expect(ended.stderr).not.toContain(secret);
  return { files, said: ended.stderr, path: (name: string) => join(inside, name), archive };
}

const jsonOf = (files: Record<string, Buffer>, name: string) => JSON.parse(files[name]?.toString() ?? '');

test('it has versions, states, logs, metrics, streams and the last frames, and nothing of the user', async () => {
  const { files, path } = await debug('web', '--seconds', '0.3');
  const summary = files['summary.txt']?.toString() ?? '';
  expect(summary).not.toMatch(/^MISSING (?!.*console)/m);
  expect(jsonOf(files, 'configuration.json')).toMatchObject({ settings: { driver: { value: 'local' } } });
  expect(jsonOf(files, 'container.json')).toMatchObject({ id: 'web', status: 'running' });
  expect(jsonOf(files, 'vm.json')).toMatchObject({ driver: 'local', state: 'running' });
  expect(jsonOf(files, 'processes.json').shim).toMatchObject({ State: expect.stringMatching(/sleeping/) });
  expect(jsonOf(files, 'agent.json')).toMatchObject({ local: true });
  expect(files['metrics.txt']?.toString()).toMatch(/^coracle_proxy_links\{state="open"\} 1$/m);
  const [link] = jsonOf(files, 'links.json');
  expect(link).toMatchObject({ open: true, clients: [{ program: 'coracle-shim' }] });
  const printed = link.streams.find(({ id }: { id: number }) => id === 6);
  expect(printed).toEqual({
    id: 6,
    sent: `${secret}-printed\n`.length,
    delivered: expect.any(Number),
    limit: expect.any(Number),
  });
  expect(
    link.frames.some((frame: { type: string; id: number }) => frame.type === 'DATA' && frame.id === 6),
  ).toBe(true);
  expect(link.frames.at(-1).agoMs).toBeGreaterThan(0);
  // Whole, and of this sandbox.
  const sandboxes = new Set<string>();
  await readCapture(path('capture.pcapng'), {
    record: ({ sandbox }) => void sandboxes.add(sandbox),
    damage: ({ what }) => expect.fail(what),
  });
  expect([...sandboxes]).toEqual([link.sandbox]);
});

test('a sandbox can be asked about by its own id', async () => {
  const { sandboxId } = JSON.parse(readFileSync(join(place.root, 'web', 'state.json'), 'utf8'));
  const { files } = await debug(sandboxId, '--seconds', '0');
  expect(jsonOf(files, 'container.json')).toMatchObject({ id: 'web' });
});

const stop = async (pid: number, during: () => Promise<void>): Promise<void> => {
  process.kill(pid, 'SIGSTOP');
  try {
    await until(() => /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')), 'it has stopped');
    await during();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
};

test('a proxy that hangs costs what it would have told, and no more', async () => {
  const proxy = allProcesses().find(({ commandLine }) =>
    commandLine.split('\0').includes(join(place.run, 'proxy.sock')),
  );
  if (proxy === undefined) throw new Error('there is no proxy');
  await stop(proxy.pid, async () => {
    const { files, said } = await debug('web', '--seconds', '0');
    expect(Object.keys(files)).toEqual(
      expect.arrayContaining(['configuration.json', 'container.json', 'processes.json', 'proxy.log']),
    );
    for (const name of ['links.json', 'metrics.txt', 'agent.json']) {
      expect(files).not.toHaveProperty([name]);
      expect(files['summary.txt']?.toString()).toMatch(
        new RegExp(`^MISSING ${name}.*no answer within 5 s`, 'm'),
      );
    }
    expect(said).toMatch(/missing {2}the proxy's metrics: no answer within 5 s/);
  });
});

test('an agent that hangs costs its own account only, and is seen to be stopped', async () => {
  const { main } = JSON.parse(
    readFileSync(
      join(place.run, 'sandboxes', readdirSync(join(place.run, 'sandboxes'))[0] as string, 'vm.json'),
      'utf8',
    ),
  );
  await stop(main.pid, async () => {
    const { files } = await debug('web', '--seconds', '0');
    expect(files).not.toHaveProperty(['agent.json']);
    expect(jsonOf(files, 'processes.json').main.State).toMatch(/^T/);
    expect(files).toHaveProperty(['links.json']);
  });
});

test.each([
  [['debug', 'nobody'], /there is no container "nobody"/],
  [['debug', '--seconds', 'x', 'web'], /--seconds x is no number of seconds/],
  [['debug', '--output', '/nonexistent/x', '--seconds', '0', 'web'], /cannot create the archive/],
] as const)('coracle %j fails and says why', async (args, says) => {
  const ended = await place.coracle([...args]);
  expect(ended.code).toBe(1);
  expect(ended.stderr).toMatch(says);
});
