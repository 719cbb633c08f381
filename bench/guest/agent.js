/**
 * The baselines' guest: stands in the agent's place in an image of its own and does with bare tools what the
 * benchmarks measure through the whole chain: dd on the same virtio-serial port, crun exec alone. It takes one
 * command a line on the port and answers with one line of JSON.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

const BLOCK_BYTES = 4096;

function busybox(...args) {
  execFileSync('/bin/busybox', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function mountAll() {
  for (const [type, target] of [
    ['proc', '/proc'],
    ['sysfs', '/sys'],
    ['devtmpfs', '/dev'],
    ['tmpfs', '/run'],
    ['tmpfs', '/tmp'],
  ]) {
    spawnSync('/bin/busybox', ['mount', '-t', type, type, target], { stdio: 'ignore' });
  }
  mkdirSync('/sys/fs/cgroup', { recursive: true });
  spawnSync('/bin/busybox', ['mount', '-t', 'cgroup2', 'cgroup2', '/sys/fs/cgroup'], { stdio: 'ignore' });
}

/** The container that the host has laid out in the share, for crun exec. */
function startContainer() {
  const share = '/run/host';
  mkdirSync(share);
  busybox('mount', '-t', 'virtiofs', 'host', share);
  const bundle = '/run/bundle';
  mkdirSync(bundle);
  const config = JSON.parse(readFileSync(`${share}/bundle/config.json`, 'utf8'));
  config.root.path = `${share}/rootfs`;
  // As the agent has it: the VM's network is the container's.
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'network');
  writeFileSync(`${bundle}/config.json`, JSON.stringify(config));
  execFileSync('/usr/bin/crun', ['--cgroup-manager=cgroupfs', 'run', '--detach', '--bundle', bundle, 'c'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

const commands = {
  /** Guest to host: dd writes zeros in blocks of 4 KiB. */
  out(port, mib) {
    spawnSync('/bin/busybox', ['dd', 'if=/dev/zero', `bs=${BLOCK_BYTES}`, `count=${mib * 256}`], {
      stdio: ['ignore', port, 'ignore'],
    });
    return {};
  },
  /** Host to guest: dd reads blocks of 4 KiB, the most a read of a port gives. */
  in(port, mib) {
    writeSync(port, '{"ready":true}\n');
    spawnSync(
      '/bin/busybox',
      ['dd', 'of=/dev/null', `bs=${BLOCK_BYTES}`, `count=${mib * 256}`, 'iflag=fullblock'],
      { stdio: [port, 'ignore', 'ignore'] },
    );
    return {};
  },
  exec(_port, count) {
    startContainer();
    const ms = [];
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      const { status } = spawnSync('/usr/bin/crun', ['--cgroup-manager=cgroupfs', 'exec', 'c', '/bin/true'], {
        stdio: 'ignore',
      });
      if (status !== 0) throw new Error(`crun exec ended with ${status}`);
      ms.push(performance.now() - start);
    }
    return { ms };
  },
};

function readLine(port) {
  const byte = Buffer.alloc(1);
  let line = '';
  for (;;) {
    if (readSync(port, byte) === 0) {
      // Nobody is connected yet: a port without a host reads as ended.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      continue;
    }
    if (byte[0] === 10) return line;
    line += byte.toString('latin1');
  }
}

mountAll();
const name = readdirSync('/sys/class/virtio-ports').find(
  (entry) => readFileSync(`/sys/class/virtio-ports/${entry}/name`, 'utf8').trim() === 'coracle.link.0',
);
const port = openSync(`/dev/${name}`, 'r+');
for (;;) {
  const [word, argument] = readLine(port).split(' ');
  if (word === 'quit') break;
  let answer;
  try {
    answer = commands[word](port, Number(argument));
  } catch (error) {
    answer = { error: String(error) };
  }
  writeSync(port, `${JSON.stringify(answer)}\n`);
}
closeSync(port);
spawnSync('/bin/busybox', ['poweroff', '-f']);
