import { expect, test } from 'vitest';
import { type GuestConfig, guestConfig } from './guest-config.ts';

const base = {
  ociVersion: '1.0.2',
  process: { args: ['sh'], cwd: '/', apparmorProfile: 'docker-default' },
  root: { path: '/on/the/host', readonly: true },
};

function convert(
  config: object,
  options: Partial<Parameters<typeof guestConfig>[0]> = {},
): GuestConfig & { made: ReturnType<typeof JSON.parse> } {
  const result = guestConfig({
    config: Buffer.from(JSON.stringify({ ...base, ...config })),
    containerId: 'web',
    rootfs: '/run/coracle/shares/pod/rootfs',
    bindSources: new Map(),
    size: { columns: 80, rows: 24 },
    local: false,
    ...options,
  });
  return { ...result, made: JSON.parse(result.json) };
}

test('the root is in the share, and what belongs to the host is gone', () => {
  const { made } = convert({
    hooks: { prestart: [{ path: '/bin/x' }] },
    linux: { cgroupsPath: '/host', mountLabel: 'l' },
  });
  expect(made.root).toEqual({ path: '/run/coracle/shares/pod/rootfs', readonly: true });
  expect(made).not.toHaveProperty('hooks');
  expect(made.process).not.toHaveProperty('apparmorProfile');
  expect(made.linux).toEqual({
    cgroupsPath: '/coracle/web',
    namespaces: [{ type: 'mount' }, { type: 'cgroup' }],
    personality: { domain: 'LINUX' },
  });
});

test('the network is the VM’s, and namespaces by path are too', () => {
  const namespaces = [
    { type: 'pid' },
    { type: 'network' },
    { type: 'ipc', path: '/proc/1/ns/ipc' },
    { type: 'mount' },
  ];
  expect(convert({ linux: { namespaces } }).made.linux.namespaces).toEqual([
    { type: 'pid' },
    { type: 'mount' },
    { type: 'cgroup' },
  ]);
});

test('settings of the network are taken out for the agent to apply', () => {
  const sysctl = { 'net.ipv4.ip_unprivileged_port_start': '0', 'kernel.msgmax': '1' };
  const { made, netSysctls } = convert({ linux: { sysctl } });
  expect(made.linux.sysctl).toEqual({ 'kernel.msgmax': '1' });
  expect([...netSysctls]).toEqual([['net.ipv4.ip_unprivileged_port_start', '0']]);
  expect(() => convert({ linux: { sysctl: { 'net/../kernel/core_pattern': '|x' } } })).toThrow(
    /linux\.sysctl/,
  );
});

test('bind mounts get their source in the share, others are looked for in the guest', () => {
  const mounts = [
    { destination: '/a', type: 'bind', source: '/host/a' },
    { destination: '/b', type: 'none', source: '/dev/null', options: ['rbind', 'ro'] },
  ];
  const { made, guestSources } = convert(
    { mounts },
    { bindSources: new Map([[0, '/run/coracle/shares/pod/a']]) },
  );
  expect(made.mounts[0].source).toBe('/run/coracle/shares/pod/a');
  expect(guestSources).toEqual([{ field: 'mounts[1]', path: '/dev/null' }]);
  expect(() => convert({ mounts }, { bindSources: new Map([[2, '/x']]) })).toThrow(
    /name mount 2, there are 2/,
  );
});

test('the terminal’s size is there before the program runs', () => {
  const process = { args: ['sh'], cwd: '/', terminal: true };
  expect(convert({ process }).made.process.consoleSize).toEqual({ height: 24, width: 80 });
  expect(convert({}).made.process).not.toHaveProperty('consoleSize');
});

test.each([
  [{ process: null }, 'process must be an object, it is null'],
  [{ process: { args: [], cwd: '/' } }, 'process.args must name a command'],
  [{ process: { args: ['a', 1], cwd: '/' } }, 'process.args[1] must be a string'],
  [{ process: { args: ['a\0b'], cwd: '/' } }, 'process.args[0] must not contain a NUL byte'],
  [{ mounts: {} }, 'mounts must be an array, it is an object'],
  [{ linux: { namespaces: [{}] } }, 'linux.namespaces[0].type must be a string, it is missing'],
])('%j is refused by name', (config, message) => {
  expect(() => convert(config)).toThrow(message);
});

test('a time namespace with the clocks of all is none, and nobody gives crun orders by annotations', () => {
  const { made } = convert({
    annotations: { 'run.oci.handler': 'wasm', name: 'web' },
    linux: { namespaces: [{ type: 'time' }], timeOffsets: { boottime: { secs: 0 } } },
  });
  expect(made.annotations).toEqual({ name: 'web' });
  expect(made.linux.namespaces).toEqual([{ type: 'mount' }, { type: 'cgroup' }]);
  expect(made.linux).not.toHaveProperty('timeOffsets');
  expect(() => convert({ linux: { timeOffsets: { boottime: { secs: 5 } } } })).toThrow(
    /linux\.timeOffsets\.boottime cannot be applied/,
  );
});
