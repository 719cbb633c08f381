/** The real proxy's /metrics while a real agent's streams run, and what the dashboard in docs asks of them. */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import type { Container, Sandbox } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LocalPlace, makeLocalPlace, startIdle, until } from './local-sandbox.ts';

let place: LocalPlace;
let sandbox: Sandbox;
let container: Container;

beforeAll(async () => {
  place = await makeLocalPlace();
  sandbox = await place.startSandbox();
  container = await startIdle(sandbox, 'main');
});

afterAll(async () => {
  await sandbox.destroy();
  await place[Symbol.asyncDispose]();
});

type Address = { readonly socketPath: string } | { readonly host: string; readonly port: number };

function get(
  address: Address,
  path: string,
  method = 'GET',
): Promise<{ status: number; type: string; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...address, path, method, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, type: answer.headers['content-type'] ?? '', text }),
      );
    });
    asked.on('error', reject).end();
  });
}

const scrape = async (): Promise<Map<string, number>> =>
  parse((await get({ socketPath: `${place.proxySocket}.debug` }, '/metrics')).text);

/** By name and labels, as they stand there. */
function parse(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || /^# (HELP|TYPE) [a-z_]+ \S/.test(line)) continue;
    const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
    if (match === null) throw new Error(`no line of the format: ${line}`);
    expect(values.has(match[1] as string), line).toBe(false);
    values.set(match[1] as string, Number(match[2]));
  }
  return values;
}

test('frames, requests, round trips, stalls and their ends are counted', async () => {
  const before = await scrape();
  const flood = await container.exec({ args: ['head', '-c', '2000000', '/dev/zero'], id: 'flood' });
  const stalled = 'coracle_proxy_stalled_streams{direction="to_client"}';
  let during = before;
  await until(async () => {
    during = await scrape();
    return during.get(stalled) === 1;
  }, 'the stream that nobody reads stands still');
  const seconds = 'coracle_proxy_stalled_seconds_total{direction="to_client"}';
  await until(
    async () => ((await scrape()).get(seconds) ?? 0) > (during.get(seconds) ?? 0),
    'and it is counted how long',
  );
  expect((await flood.output({ maxBytes: 1e9 })).stdout.length).toBe(2_000_000);
  const after = await scrape();
  const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  expect(after.get(stalled)).toBe(0);
  expect(grown('coracle_proxy_stalls_total{direction="to_client"}')).toBeGreaterThanOrEqual(1);
  expect(grown('coracle_proxy_payload_bytes_total{direction="to_client",type="DATA"}')).toBe(2_000_000);
  expect(grown('coracle_proxy_frames_total{direction="to_client",type="DATA"}')).toBeGreaterThan(60);
  expect(grown('coracle_proxy_frames_total{direction="to_agent",type="WINDOW"}')).toBeGreaterThan(3);
  expect(grown('coracle_proxy_delivery_seconds_count{direction="to_client"}')).toBeGreaterThan(0);
  expect(grown('coracle_proxy_request_duration_seconds_count')).toBeGreaterThanOrEqual(1);
  expect(grown('coracle_proxy_attachments_total')).toBe(1);
  expect(after.get('coracle_proxy_links{state="open"}')).toBe(1);
  expect(after.get('coracle_proxy_clients')).toBe(1);
  expect(after.get('process_resident_memory_bytes')).toBeGreaterThan(1e6);
  const buckets = [...after].filter(([name]) =>
    name.startsWith('coracle_proxy_delivery_seconds_bucket{direction="to_client"'),
  );
  expect(buckets.at(-1)).toEqual([
    'coracle_proxy_delivery_seconds_bucket{direction="to_client",le="+Inf"}',
    after.get('coracle_proxy_delivery_seconds_count{direction="to_client"}'),
  ]);
  for (const [index, [, value]] of buckets.entries())
    expect(value).toBeGreaterThanOrEqual(buckets[index - 1]?.[1] ?? 0);
});

test('what is sent again after a new attachment is counted', async () => {
  const shared = await container.exec({
    args: ['sh', '-c', 'seq 1 5000; sleep 1000'],
    id: 'shared',
    attach: false,
  });
  const first = await sandbox.attach(shared.handle);
  first.wait().catch(() => undefined);
  first.stdout.on('error', () => undefined);
  const sent = 'coracle_proxy_payload_bytes_total{direction="to_client",type="DATA"}';
  await until(async () => ((await scrape()).get(sent) ?? 0) >= 2_000_000 + 23_000, 'its output has crossed');
  const second = await sandbox.attach(shared.handle);
  let bytes = 0;
  second.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await until(() => bytes >= 23_000, 'it has come again');
  const after = await scrape();
  expect(after.get('coracle_proxy_reattachments_total')).toBeGreaterThanOrEqual(1);
  expect(after.get('coracle_proxy_retransmitted_bytes_total{direction="to_client"}')).toBeGreaterThan(0);
  second.signal('SIGKILL');
  await second.wait();
});

test('labels are those that are documented, and name nobody', async () => {
  const { text, type } = await get({ socketPath: `${place.proxySocket}.debug` }, '/metrics');
  expect(type).toMatch(/^text\/plain; version=0\.0\.4/);
  const documented = ['direction', 'type', 'state', 'code', 'le'];
  for (const [, label] of text.matchAll(/[{,](\w+)=/g)) expect(documented).toContain(label);
  for (const name of [sandbox.id, 'main', 'flood', 'shared']) expect(text).not.toContain(name);
  const page = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');
  for (const [, name] of text.matchAll(/^# TYPE (\w+)/gm)) expect(page).toContain(`\`${name}\``);
});

test('every metric that the dashboard asks for is served', async () => {
  const { text } = await get({ socketPath: `${place.proxySocket}.debug` }, '/metrics');
  const dashboard = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../docs/grafana-dashboard.json'), 'utf8'),
  );
  const expressions: string[] = dashboard.panels.flatMap(
    ({ targets = [] }: { targets?: { expr: string }[] }) => targets.map(({ expr }) => expr),
  );
  expect(expressions.length).toBeGreaterThan(10);
  const asked = new Set(expressions.flatMap((expr) => expr.match(/\b(?:coracle_proxy|process)_\w+/g) ?? []));
  const families = [...text.matchAll(/^# TYPE (\w+) (\w+)/gm)].flatMap(([, name, type]) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [`${name}`],
  );
  for (const name of asked) expect(families).toContain(name);
  for (const expr of expressions)
    for (const [, list = ''] of expr.matchAll(/by \(([^)]*)\)/g))
      for (const label of list.split(/, */)) {
        // This one is Prometheus's.
        if (label !== 'instance') expect(text).toContain(`${label}=`);
      }
});

test('a TCP port serves metrics and nothing else', async () => {
  const said: object[] = [];
  const log = {
    debug: () => undefined,
    info: (fields: object) => void said.push(fields),
    warn: () => undefined,
  };
  const metrics = { host: '127.0.0.1', port: 0 };
  const proxy = new ProxyServer({ sandboxes: join(place.directory, 'none'), metrics, log });
  await proxy.listen(join(place.directory, 'other.sock'));
  try {
    const address = said.find((fields) => 'port' in fields) as { host: string; port: number };
    expect(parse((await get(address, '/metrics')).text).get('coracle_proxy_clients')).toBe(0);
    expect((await get(address, '/capture')).status).toBe(404);
    expect((await get(address, '/metrics', 'POST')).status).toBe(405);
    // Another proxy that wants the same port goes without it.
    const second = new ProxyServer({ sandboxes: join(place.directory, 'none'), metrics: address });
    await second.listen(join(place.directory, 'third.sock'));
    await second.close();
  } finally {
    await proxy.close();
  }
});
