/**
 * The network of a container in a VM, with the command line and real interfaces: a namespace as an engine makes it, joined by a veth
 * to one that stands for the rest of the world (docs/networking.md).
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { inNetworkNamespace } from '@coracle/sys';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { RuntimePlace } from '../local/runtime-place.ts';
import { until } from '../support/wait.ts';
import { guestImage } from './guest-image.ts';

const shell = (script: string): string => execFileSync('/bin/sh', ['-ec', script], { encoding: 'utf8' });
const DATA_BYTES = 20 << 20;

let namespaces = 0;

/** A namespace of its own, by path, until the test file has ended. */
class Namespace {
  readonly name = `ct-${process.pid}-${++namespaces}`;
  readonly path = `/run/netns/${this.name}`;

  constructor() {
    shell(`ip netns add ${this.name}`);
  }

  ip(command: string): string {
    return shell(`ip -n ${this.name} ${command}`);
  }

  /** What is there, to be compared. */
  links(): string {
    return this.ip('-o link') + shell(`ip netns exec ${this.name} tc qdisc show`);
  }

  remove(): void {
    if (existsSync(this.path)) shell(`ip netns del ${this.name}`);
  }
}

const place = new RuntimePlace();
const world = new Namespace();
const own = new Namespace();
Object.assign(place.env, {
  CORACLE_DRIVER: 'qemu',
  CORACLE_ACCEL: 'tcg',
  CORACLE_IMAGE: guestImage(),
  CORACLE_TEMPLATE: process.env.CORACLE_TEMPLATE ?? 'off',
});

afterAll(async () => {
  for (const id of place.ids()) await place.coracle(['delete', '--force', id]);
  await place[Symbol.asyncDispose]();
  for (const namespace of [world, own]) namespace.remove();
});

/** A veth from the container's namespace into the world. */
function connect(name: string, number: number): void {
  world.ip(`link add w${number} type veth peer name ${name} netns ${own.name}`);
  world.ip(`addr add 10.77.${number}.1/24 dev w${number}`);
  world.ip(`addr add fd77:${number}::1/64 dev w${number} nodad`);
  world.ip(`link set w${number} up`);
  own.ip(`addr add 10.77.${number}.2/24 brd + dev ${name}`);
  own.ip(`addr add fd77:${number}::2/64 dev ${name} nodad`);
}

const inNetwork = (path: string | undefined) => (config: never) => {
  const { linux, process } = config as { linux: { namespaces: { type: string }[] }; process: object };
  linux.namespaces = linux.namespaces.filter(({ type }) => type !== 'network');
  linux.namespaces.push({ type: 'network', ...(path === undefined ? {} : { path }) });
  const capabilities = ['CAP_NET_RAW', 'CAP_NET_ADMIN'];
  Object.assign(process, {
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
  });
};

async function execIn(id: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await place.coracle(['exec', id, 'sh', '-c', script]);
  expect({ script, code, stderr }).toEqual({ script, code: 0, stderr: '' });
  return stdout;
}

/** A server in the world, on all its addresses. */
function serve(port: number, onConnection: Parameters<typeof createServer>[1]): Server {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  // Without an address to look up, the socket is made at once, there.
  inNetworkNamespace(world.path, () => void server.listen(port));
  onTestFinished(() => void server.close());
  return server;
}

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

describe('a namespace that an engine has made', () => {
  let before: string;

  beforeAll(async () => {
    connect('eth0', 1);
    own.ip('link set eth0 mtu 1450 up');
    own.ip('route add default via 10.77.1.1');
    own.ip('route add 10.99.0.0/16 dev eth0 scope link');
    own.ip('route add 10.98.0.0/16 via 10.99.0.1 dev eth0 metric 7 mtu 1300');
    own.ip('route add blackhole 10.66.0.0/16');
    own.ip('route add default via fd77:1::1');
    own.ip('neigh add 10.77.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent');
    // Half-made: it has no address and is down. It is not the VM's yet.
    own.ip('link add later type bridge');
    before = own.links();
    const bundle = place.bundle(['sleep', '1000'], inNetwork(own.path));
    expect(await place.coracle(['run', '--detach', '--bundle', bundle, 'net'])).toMatchObject({
      code: 0,
      stderr: '',
    });
  });

  test('is the VM’s as it is: interface, addresses, routes, MTU, neighbours', async () => {
    const { pid } = JSON.parse((await place.coracle(['state', 'net'])).stdout);
    const inode = inNetworkNamespace(own.path, () => readlinkSync('/proc/thread-self/ns/net'));
    expect(readlinkSync(`/proc/${pid}/ns/net`)).toBe(inode);
    const [mac] = /link\/ether (\S+)/.exec(own.ip('-o link show eth0'))!.slice(1);
    const inside = await execIn('net', 'ip link; ip -o addr; ip route; ip -6 route; ip neigh');
    expect(inside).toMatch(new RegExp(`: eth0: <[^>]*\\bUP\\b[^>]*> mtu 1450 [\\s\\S]*link/ether ${mac} `));
    expect(inside).not.toContain('later');
    for (const line of [
      /eth0 +inet 10\.77\.1\.2\/24 brd 10\.77\.1\.255 scope global eth0/,
      /eth0 +inet6 fd77:1::2\/64 scope global/,
      /^default via 10\.77\.1\.1 dev eth0/m,
      /^10\.77\.1\.0\/24 dev eth0 scope link +src 10\.77\.1\.2/m,
      /^10\.99\.0\.0\/16 dev eth0 scope link/m,
      /^10\.98\.0\.0\/16 via 10\.99\.0\.1 dev eth0 +metric 7/m,
      /^blackhole 10\.66\.0\.0\/16/m,
      /^default via fd77:1::1 dev eth0/m,
      /^10\.77\.1\.9 dev eth0 lladdr 02:00:00:00:00:09 .*PERMANENT/m,
    ])
      expect(inside).toMatch(line);
  });

  test('carries both protocols and real data both ways, with every checksum left to the last', async () => {
    expect(await execIn('net', 'ping -c 1 -w 5 10.77.1.1; ping -c 1 -w 5 fd77:1::1')).toMatch(
      /1 packets received.*1 packets received/s,
    );
    const data = randomBytes(DATA_BYTES);
    writeFileSync(join(place.rootfs, 'data'), data);
    serve(5000, (socket) => {
      socket.once('data', () => socket.end(Buffer.concat([Buffer.from('HTTP/1.0 200 OK\r\n\r\n'), data])));
    });
    const received = Promise.withResolvers<string>();
    serve(5001, async (socket) => {
      received.resolve(sha256(Buffer.concat(await socket.toArray())));
      socket.end();
    });
    expect(await execIn('net', 'wget -q -O - http://10.77.1.1:5000/ | sha256sum')).toContain(sha256(data));
    await execIn('net', 'nc fd77:1::1 5001 < /data');
    expect(await received.promise).toBe(sha256(data));
  });

  test('is followed: interfaces, addresses, routes and MTU that come and go', async () => {
    // docker network connect, six more times; the half-made one is finished.
    for (const number of [2, 3, 4, 5, 6]) {
      connect(`eth${number - 1}`, number);
      own.ip(`link set eth${number - 1} up`);
    }
    own.ip('addr add 10.5.0.1/24 dev later');
    own.ip('link set later up');
    own.ip('route add 10.55.0.0/16 via 10.77.6.1');
    const addresses = () => execIn('net', 'ip -o addr; ip route; ip link');
    const becomes = async (expected: readonly RegExp[], not: readonly RegExp[] = []) => {
      let found = '';
      const right = async () => {
        found = await addresses();
        return expected.every((line) => line.test(found)) && !not.some((line) => line.test(found));
      };
      const end = performance.now() + 60_000;
      while (!(await right()))
        if (performance.now() > end)
          throw new Error(`not ${expected} without ${not} within a minute: ${found}`);
    };
    await becomes([
      ...[2, 3, 4, 5, 6].map((number) => new RegExp(`eth${number - 1} +inet 10\\.77\\.${number}\\.2/24`)),
      /later +inet 10\.5\.0\.1\/24/,
      /^10\.55\.0\.0\/16 via 10\.77\.6\.1 dev eth5/m,
    ]);
    expect(await execIn('net', 'ping -c 1 -w 5 10.77.6.1')).toContain('1 packets received');
    for (const number of [2, 3, 4, 5]) own.ip(`link del eth${number - 1}`);
    own.ip('link del later');
    own.ip('addr add 10.77.1.7/24 dev eth0');
    own.ip('addr del fd77:1::2/64 dev eth0');
    own.ip('route del 10.99.0.0/16');
    own.ip('link set eth0 mtu 1400');
    await becomes(
      [/eth0 +inet 10\.77\.1\.7\/24/, /eth0: .* mtu 1400 /, /eth5 +inet 10\.77\.6\.2/],
      [/eth[1234]/, /later/, /fd77:1::2/, /^10\.99\.0\.0/m],
    );
    expect(await execIn('net', 'ping -c 1 -w 5 10.77.6.1')).toContain('1 packets received');
    own.ip('link del eth5');
    await becomes([/eth0 +inet 10\.77\.1\.2/], [/eth5/]);
    own.ip('link set eth0 mtu 1450');
    own.ip('link add later type bridge');
  });

  test('is not another VM’s at the same time', async () => {
    const bundle = place.bundle(['true'], inNetwork(own.path));
    const ended = await place.coracle(['run', '--bundle', bundle, 'second']);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(
      /cannot share the network namespace .*: another virtual machine has it already;.*not supported yet/,
    );
    expect(await execIn('net', 'ping -c 1 -w 5 10.77.1.1')).toContain('1 packets received');
  });

  test('is given back as it was', async () => {
    // What a killed VM leaves is taken away too.
    const { pid } = JSON.parse(
      readFileSync(join(place.run, 'sandboxes', sandboxOf('net'), 'vm.json'), 'utf8'),
    ).main;
    process.kill(pid, 'SIGKILL');
    await until(() => !own.links().includes('crtap'), 'the tap is gone');
    expect(await place.coracle(['delete', '--force', 'net'])).toMatchObject({ code: 0, stderr: '' });
    const names = (text: string) => text.replaceAll(/^\d+: |@\S+|\\.*$/gm, '').replaceAll(/state \S+/g, '');
    expect(names(own.links())).toBe(names(before));
    expect(place.leftovers()).toEqual([]);
  });
});

test('a namespace of its own is there for whoever has the pid: what is set up between create and start is taken over', async () => {
  const bundle = place.bundle(
    ['sh', '-c', 'ip -o addr; ip route; ping -c 1 -w 5 10.78.0.1'],
    inNetwork(undefined),
  );
  const pidFile = join(place.folder, 'pid');
  const script = `
    ip link add cni0 type veth peer name eth0 netns $PID
    ip addr add 10.78.0.1/24 dev cni0; ip link set cni0 up
    nsenter --net=/proc/$PID/ns/net sh -ec 'ip addr add 10.78.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.78.0.1'`;
  expect(await place.coracle(['create', '--bundle', bundle, '--pid-file', pidFile, 'new'])).toMatchObject({
    code: 0,
  });
  const pid = readFileSync(pidFile, 'utf8');
  expect(shell(`nsenter --net=/proc/${pid}/ns/net ip -o addr`)).toMatch(/lo +inet 127\.0\.0\.1/);
  shell(
    `ip netns exec ${world.name} sh -ec "PID=${pid}; ${script.replaceAll('$PID', pid).replaceAll('"', '\\"')}"`,
  );
  expect(await place.coracle(['start', 'new'])).toMatchObject({ code: 0, stderr: '' });
  const stopped = async () => JSON.parse((await place.coracle(['state', 'new'])).stdout).status === 'stopped';
  const end = performance.now() + 60_000;
  while (!(await stopped())) if (performance.now() > end) throw new Error('it does not end');
  expect(await place.coracle(['delete', 'new'])).toMatchObject({ code: 0, stderr: '' });
  // With the shim its namespace has gone, and the veth with it.
  await until(() => !world.ip('-o link').includes('cni0'), 'the veth is gone');
  expect(place.leftovers()).toEqual([]);
});

test('the host’s network is refused, and says what to do', async () => {
  const none = (config: never) => {
    const { linux } = config as { linux: { namespaces: { type: string }[] } };
    linux.namespaces = linux.namespaces.filter(({ type }) => type !== 'network');
  };
  for (const change of [none, inNetwork('/proc/self/ns/net')]) {
    const ended = await place.coracle(['run', '--bundle', place.bundle(['true'], change), 'host']);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(
      /a virtual machine cannot share it; give .* a network of its own and publish its ports/,
    );
  }
  const missing = await place.coracle([
    'run',
    '--bundle',
    place.bundle(['true'], inNetwork('/run/netns/no-such')),
    'host',
  ]);
  expect(missing.stderr).toMatch(/cannot use the network namespace \/run\/netns\/no-such .*no such file/);
});

function sandboxOf(id: string): string {
  return JSON.parse(readFileSync(join(place.root, id, 'state.json'), 'utf8')).sandboxId;
}
