/**
 * config.json inside the guest: each property of the OCI runtime specification that can be seen from inside a container,
 * beside what runc makes of the same bundle on this host. Few VMs, with many questions each. The names of the tests are
 * the sections of config.md and config-linux.md.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RuntimePlace } from '../local/runtime-place.ts';
import { type Ended, run } from '../support/program.ts';

// biome-ignore lint/suspicious/noExplicitAny: what a test writes into a config.json
type Config = any;
type Sections = Readonly<Record<string, string>>;

const env = { CORACLE_DRIVER: 'qemu', CORACLE_TEMPLATE: 'off' };
let place: RuntimePlace;
let ids = 0;

beforeAll(() => {
  place = new RuntimePlace();
  for (const name of ['mnt/mapped', 'mnt/foreign', 'masked', 'home', 'dev/shm'])
    mkdirSync(join(place.rootfs, name), { recursive: true, mode: 0o755 });
  // With a mode= runc 1.1 gives a tmpfs the mode of the folder below it, and later ones what was asked for.
  chmodSync(join(place.rootfs, 'tmp'), 0o1777);
  mkdirSync(join(place.rootfs, 'run'), { mode: 0o750 });
  writeFileSync(join(place.rootfs, 'masked/file'), 'secret\n');
  writeFileSync(join(place.rootfs, 'etc/hosts'), 'of the image\n');
});
afterAll(async () => {
  expect(place.leftovers()).toEqual([]);
  await place[Symbol.asyncDispose]();
});

/** Runs each script in one container, and gives what each has said, errors included. */
async function ask(
  by: 'coracle' | 'runc',
  scripts: Readonly<Record<string, string>>,
  change: (config: Config) => void,
): Promise<Sections> {
  const script = Object.entries(scripts)
    .map(([name, text]) => `echo "== ${name}"; ( ${text} ) 2>&1`)
    .join('\n');
  const bundle = place.bundle(['sh', '-c', script], change);
  const id = `${by}-${++ids}`;
  const { code, stdout, stderr } =
    by === 'coracle'
      ? await place.coracle(['run', '--bundle', bundle, id], { env })
      : await run('runc', ['--root', join(place.folder, 'runc'), 'run', '--bundle', bundle, id], {
          env: place.env,
        });
  if (!stdout.startsWith('== ')) throw new Error(`${by} run ended with ${code}: ${stderr}${stdout}`);
  const sections = stdout.split(/^== /m).slice(1);
  return Object.fromEntries(
    sections.map((section) => {
      const end = section.indexOf('\n');
      return [section.slice(0, end), section.slice(end + 1)];
    }),
  );
}

const capabilities = ['CAP_CHOWN', 'CAP_KILL', 'CAP_MKNOD', 'CAP_SETUID', 'CAP_DAC_OVERRIDE'];

/** One of everything that Docker and Podman send, and what they could. */
function everything(config: Config): void {
  config.root.readonly = true;
  config.hostname = 'inside';
  Object.assign(config.process, {
    cwd: '/home',
    user: { uid: 1000, gid: 1001, umask: 0o027, additionalGids: [5, 44] },
    capabilities: {
      bounding: capabilities,
      effective: ['CAP_KILL'],
      permitted: ['CAP_KILL', 'CAP_CHOWN'],
      inheritable: ['CAP_KILL'],
      ambient: ['CAP_KILL'],
    },
    noNewPrivileges: true,
    oomScoreAdj: 321,
    rlimits: [
      // Both the same: of a lower soft limit runc sometimes makes the hard one, as its Go runtime raises its own.
      { type: 'RLIMIT_NOFILE', hard: 512, soft: 512 },
      { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
      { type: 'RLIMIT_NPROC', hard: 300, soft: 200 },
    ],
  });
  config.mounts.push(
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'mode=1777', 'size=2048k'] },
    { destination: '/run', type: 'tmpfs', source: 'tmpfs', options: ['nosuid'] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    {
      destination: '/tmp',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'nodev', 'noexec', 'size=1024k', 'mode=1777', 'nr_inodes=50'],
    },
    {
      destination: '/etc/hosts',
      type: 'bind',
      source: file('hosts', 'of the engine\n'),
      options: ['rbind', 'rprivate'],
    },
    {
      destination: '/etc/resolv.conf',
      type: 'bind',
      source: file('resolv', 'nameserver 192.0.2.1\n'),
      options: ['bind', 'ro'],
    },
    {
      destination: '/mnt/volume',
      type: 'bind',
      source: folder('volume'),
      options: ['rbind', 'nosuid', 'nodev'],
    },
    { destination: '/mnt/ro', type: 'bind', source: folder('ro'), options: ['rbind', 'ro'] },
    { destination: '/mnt/slave', type: 'bind', source: folder('slave'), options: ['rbind', 'rslave'] },
  );
  Object.assign(config.linux, {
    namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })),
    sysctl: { 'kernel.msgmax': '4097', 'net.ipv4.ip_unprivileged_port_start': '99' },
    maskedPaths: ['/masked', '/masked/file', '/proc/kcore', '/proc/not-there'],
    readonlyPaths: ['/proc/sys', '/proc/not-there'],
    rootfsPropagation: 'private',
    devices: [
      { path: '/dev/own-null', type: 'c', major: 1, minor: 3, fileMode: 0o640, uid: 7, gid: 8 },
      { path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 },
      { path: '/dev/pipe', type: 'p', fileMode: 0o600, uid: 1, gid: 1 },
    ],
    resources: {
      devices: [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
      ],
    },
    seccomp: {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86_64'],
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 }],
    },
  });
}

function folder(name: string): string {
  const path = join(place.folder, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'file'), `in ${name}\n`);
  execFileSync('chmod', ['-R', 'a+rwX', path]);
  return path;
}

function file(name: string, text: string): string {
  const path = join(place.folder, `file-${name}`);
  writeFileSync(path, text, { mode: 0o666 });
  return path;
}

const mountOf = (path: string) =>
  `awk '$5 == "${path}" { sub(/,relatime/, "", $6); print $6 }' /proc/self/mountinfo`;
const status = (...names: string[]) => `grep -E '^(${names.join('|')}):' /proc/self/status`;
const limit = (name: string) => `grep '^Max ${name} ' /proc/self/limits | tr -s ' '`;

/** What is asked, under the section of the specification; runc's answer is the right one. */
const questions = {
  'process.user': `id -u; id -g; ${status('Uid', 'Gid', 'Groups')}`,
  'process.user.umask':
    'umask; touch /mnt/volume/umask-$$; stat -c %a /mnt/volume/umask-$$; rm /mnt/volume/umask-$$',
  'process.cwd': 'pwd',
  'process.env': 'env | grep -E "^(PATH|TERM)=" | sort',
  'process.capabilities': status('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'),
  'process.noNewPrivileges': status('NoNewPrivs'),
  'process.oomScoreAdj': 'cat /proc/self/oom_score_adj',
  'process.rlimits': [limit('open files'), limit('core file size'), limit('processes')].join('; '),
  hostname: 'hostname; cat /proc/sys/kernel/hostname',
  'root.readonly': `touch /x; echo "$?"; ${mountOf('/')}`,
  'mounts: proc': 'ls -d /proc/self/status; echo $(ls -d /proc/[0-9]* | wc -l | grep -c .)',
  'mounts: tmpfs': `df -k /tmp | awk 'NR == 2 { print $2 }'; stat -c %a /tmp; ${mountOf('/tmp')}; dd if=/dev/zero of=/tmp/big bs=1k count=2000 2>&1 | grep -o 'No space.*'; rm /tmp/big`,
  'mounts: tmpfs without a mode': 'stat -c "%a %u %g" /run',
  'mounts: nr_inodes':
    'i=0; while : > /tmp/f$i; do i=$((i+1)); [ $i -lt 90 ] || break; done 2>/dev/null; echo $i; rm /tmp/f*',
  'mounts: shm size': `df -k /dev/shm | awk 'NR == 2 { print $2 }'; stat -c %a /dev/shm`,
  'mounts: mqueue': `${mountOf('/dev/mqueue')}; ls -a /dev/mqueue | wc -l`,
  'mounts: devpts': 'ls /dev/pts; stat -c %a /dev/pts/ptmx; ls -l /dev/ptmx | grep -o "pts/ptmx$"',
  'mounts: sysfs': `${mountOf('/sys')}; touch /sys/kernel/x; echo $?`,
  'mounts: bind of a file':
    'cat /etc/hosts /etc/resolv.conf; echo more >> /etc/hosts; cat /etc/hosts; echo x >> /etc/resolv.conf; echo $?',
  'mounts: bind of a folder': `cat /mnt/volume/file; ${mountOf('/mnt/volume')}; echo w > /mnt/volume/new && cat /mnt/volume/new && rm /mnt/volume/new`,
  'mounts: ro': 'cat /mnt/ro/file; touch /mnt/ro/x; echo $?; echo w > /mnt/ro/file; echo $?',
  'linux.namespaces':
    'for n in pid ipc uts mnt net; do [ "$(readlink /proc/self/ns/$n)" = "$(readlink /proc/1/ns/$n)" ] && echo $n; done; echo $$',
  // Not crun's, which lies at fixed addresses in an emulated guest.
  'linux.personality': 'cat /proc/self/personality',
  'linux.sysctl': 'cat /proc/sys/kernel/msgmax',
  'linux.maskedPaths': 'ls -a /masked; cat /masked/file; cat /proc/kcore | wc -c',
  'linux.readonlyPaths': 'echo 1 > /proc/sys/kernel/msgmax; echo $?',
  'linux.devices':
    'stat -c "%n %F %a %u %g %t:%T" /dev/own-null /dev/fuse /dev/pipe /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; echo x > /dev/null && echo writable',
  // crun gives it to the user, whose stdio it may be.
  '/dev/null': 'stat -c "%n %F %a %t:%T" /dev/null; echo x > /dev/null; cat /dev/null',
  'default devices': 'ls -l /dev/fd /dev/stdin /dev/stdout /dev/stderr | sed "s/.*\\/dev/\\/dev/"',
  'linux.seccomp': `${status('Seccomp')}; mkdir /tmp/x; echo $?; mkdir -p /tmp/y; echo $?`,
};

describe('a container with everything', () => {
  let ours: Sections;
  let theirs: Sections;
  beforeAll(async () => {
    ours = await ask('coracle', questions, everything);
    theirs = await ask('runc', questions, everything);
  }, 120_000);

  test.each(Object.keys(questions))('%s', (name) => {
    expect(ours[name]).toBe(theirs[name]);
  });

  test('runc was asked something, and had answers', () => {
    expect(theirs['process.user']).toContain('1000\n1001\n');
    expect(theirs['process.capabilities']).toMatch(/CapAmb:\s+0000000000000020/);
    expect(theirs['mounts: bind of a file']).toContain('of the engine\nnameserver 192.0.2.1\n');
    expect(theirs['linux.sysctl']).toBe('4097\n');
    expect(theirs['linux.personality']).toBe('00000000\n');
    expect(theirs['linux.seccomp']).toMatch(/Seccomp:\s+2\nmkdir: .*not supported\n1\n/);
  });
});

describe('another process in a container with everything', () => {
  const flags = [
    '--cwd',
    '/tmp',
    '--env',
    'A=b',
    '--user',
    '5:6',
    '--additional-gids',
    '7',
    '--cap',
    'CAP_KILL',
  ];
  // Not the umask: runc 1.1 gives an exec its own, not that of process.user.
  const script = `pwd; echo $A; id -u; id -g; ${status(
    ...['Uid', 'Gid', 'Groups', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp'],
  )}; ${limit('open files')}; ${limit('processes')}; cat /proc/self/oom_score_adj /proc/self/personality; mkdir /tmp/x; echo $?`;

  async function exec(tool: (args: string[]) => Promise<Ended>): Promise<Ended> {
    const id = `exec-${++ids}`;
    const bundle = place.bundle(['sleep', '1000'], everything);
    try {
      expect(await tool(['run', '--detach', '--bundle', bundle, id])).toMatchObject({ code: 0 });
      return await tool(['exec', ...flags, id, 'sh', '-c', script]);
    } finally {
      await tool(['delete', '--force', id]);
    }
  }

  test('is as with runc', async () => {
    const ours = await exec((args) => place.coracle(args, { env }));
    const theirs = await exec((args) =>
      run('runc', ['--root', join(place.folder, 'runc'), ...args], { env: place.env }),
    );
    expect(ours).toEqual(theirs);
    expect(ours.stdout).toMatch(/^\/tmp\nb\n5\n6\n/);
  });
});

describe('a user namespace', () => {
  const scripts = {
    'linux.uidMappings': 'cat /proc/self/uid_map /proc/self/gid_map | tr -s " "; id -u; id -g',
    'owners of files': 'stat -c "%u %g" /mnt/mapped /mnt/mapped/file /bin/busybox',
    'writing as root of the namespace':
      'echo x > /mnt/mapped/new && stat -c "%u %g" /mnt/mapped/new; echo x > /mnt/foreign/new; echo $?',
    mounts: 'ls -d /proc/self/status; touch /dev/shm/x && echo ok; ls /dev/pts/ptmx',
    capabilities: 'grep -E "^Cap(Eff|Bnd)" /proc/self/status',
  };
  const change = (config: Config) => {
    const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const mapped = folder('mapped');
    execFileSync('chown', ['-R', '100000:100000', mapped]);
    chmodSync(place.folder, 0o755);
    const foreign = join(place.folder, 'foreign');
    mkdirSync(foreign, { recursive: true, mode: 0o755 });
    config.process.capabilities = Object.fromEntries(
      ['bounding', 'effective', 'permitted'].map((set) => [set, capabilities]),
    );
    config.mounts.push(
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'mode=1777', 'size=2048k'],
      },
      { destination: '/mnt/mapped', type: 'bind', source: mapped, options: ['rbind'] },
      { destination: '/mnt/foreign', type: 'bind', source: foreign, options: ['rbind'] },
    );
    config.linux.uidMappings = mapping;
    config.linux.gidMappings = mapping;
    config.linux.namespaces = ['pid', 'ipc', 'uts', 'mount', 'network', 'user'].map((type) => ({ type }));
  };

  test('is as with runc', async () => {
    const ours = await ask('coracle', scripts, change);
    expect(ours).toEqual(await ask('runc', scripts, change));
    expect(ours['linux.uidMappings']).toContain(' 0 100000 65536\n');
    expect(ours['owners of files']).toBe('0 0\n0 0\n65534 65534\n');
  });
});

describe('what the runc of this host does not have', () => {
  test('a time namespace, linux.personality, domainname, rro and cgroup limits', async () => {
    const sub = join(place.folder, 'tree/sub');
    mkdirSync(sub, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', sub]);
    writeFileSync(join(sub, 'file'), 'below\n');
    try {
      const answers = await ask(
        'coracle',
        {
          personality: 'uname -m',
          domainname: 'cat /proc/sys/kernel/domainname',
          rro: 'cat /mnt/rro/sub/file; touch /mnt/rro/x /mnt/rro/sub/x; echo $?',
          rbind: 'cat /mnt/tree/sub/file; echo w > /mnt/tree/sub/new; cat /mnt/tree/sub/new',
          cgroup:
            'cd /sys/fs/cgroup; cat memory.max memory.low cpu.max cpu.weight pids.max; cat /proc/self/cgroup',
          root: 'touch /written && echo ok; rm /written',
        },
        (config) => {
          config.domainname = 'example';
          config.mounts.push(
            {
              destination: '/mnt/rro',
              type: 'bind',
              source: join(place.folder, 'tree'),
              options: ['rbind', 'rro'],
            },
            {
              destination: '/mnt/tree',
              type: 'bind',
              source: join(place.folder, 'tree'),
              options: ['rbind'],
            },
            { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'nosuid'] },
          );
          Object.assign(config.linux, {
            namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', 'time'].map((type) => ({ type })),
            timeOffsets: { boottime: { secs: 0, nanosecs: 0 } },
            personality: { domain: 'LINUX32' },
            resources: {
              memory: { limit: 67_108_864, reservation: 33_554_432, swap: 134_217_728 },
              cpu: { shares: 2048, quota: 150_000, period: 100_000 },
              pids: { limit: 77 },
            },
          });
        },
      );
      expect(answers.personality).toBe('i686\n');
      expect(answers.domainname).toBe('example\n');
      expect(answers.rro).toMatch(/^below\n(touch: .*Read-only file system\n){2}1\n$/);
      expect(answers.rbind).toBe('below\nw\n');
      expect(readFileSync(join(sub, 'new'), 'utf8')).toBe('w\n');
      expect(answers.cgroup).toBe('67108864\n33554432\n150000 100000\n79\n77\n0::/\n');
      expect(answers.root).toBe('ok\n');
    } finally {
      execFileSync('umount', ['-l', sub]);
    }
  });
});

describe('what a VM cannot give', () => {
  const path = '/proc/self/ns/ipc';
  const namespaces =
    (...list: object[]) =>
    (config: Config) => {
      config.linux.namespaces = list;
    };
  const withMount = (mount: object) => (config: Config) => {
    config.mounts.push(mount);
  };
  const pid = { type: 'pid' };
  test.each<[string, (config: Config) => void, string]>([
    ['host pid', namespaces({ type: 'mount' }), 'linux.namespaces has no pid namespace'],
    [
      'a namespace by path',
      namespaces(pid, { type: 'ipc', path }),
      `the ipc namespace ${path} is this host's`,
    ],
    [
      'a clock of its own',
      (config) => {
        config.linux.timeOffsets = { boottime: { secs: 5 } };
      },
      'linux.timeOffsets cannot be applied',
    ],
    [
      'a listener of seccomp',
      (config) => {
        config.linux.seccomp = { defaultAction: 'SCMP_ACT_ALLOW', listenerPath: '/run/l.sock' };
      },
      'linux.seccomp.listenerPath names a program of this host',
    ],
    [
      'an idmapped mount',
      withMount({
        destination: '/mnt',
        type: 'bind',
        source: '/tmp',
        options: ['bind'],
        uidMappings: [{ containerID: 0, hostID: 5, size: 1 }],
      }),
      'mounts[3] (/mnt) is to be idmapped',
    ],
    [
      'a device of the host',
      (config) => {
        config.linux.devices = [{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 }];
      },
      '/dev/kvm (c 10:232) is a device of this host',
    ],
  ])('%s is refused by name, before anything is started', async (_, change, message) => {
    const id = `refused-${++ids}`;
    const { code, stderr } = await place.coracle(['run', '--bundle', place.bundle(['true'], change), id], {
      env,
    });
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(place.ids()).toEqual([]);
  });

  test('what runc users expect to be able to say is ignored, with a warning in the log and not in the output', async () => {
    const log = join(place.folder, 'log.json');
    const bundle = place.bundle(
      ['sh', '-c', 'ls /dev/kvm; stat -c %t:%T /dev/null; echo out'],
      (config: Config) => {
        delete config.hostname;
        config.linux.namespaces = [pid, { type: 'mount' }, { type: 'network' }];
        config.process.apparmorProfile = 'docker-default';
        config.process.selinuxLabel = 'system_u:system_r:container_t:s0';
        config.process.ioPriority = { class: 'IOPRIO_CLASS_IDLE', priority: 0 };
        config.linux.devices = [{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 }];
        config.linux.resources = { devices: [{ allow: true, access: 'rwm' }], memory: { swappiness: 5 } };
        config.mounts.push({
          destination: '/mnt',
          type: 'bind',
          source: '/tmp',
          options: ['rbind', 'rshared'],
        });
      },
    );
    const { code, stdout, stderr } = await place.coracle(
      ['--log', log, '--log-format', 'json', 'run', '--bundle', bundle, `warned-${++ids}`],
      { env },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1:3\nout\n' });
    expect(stderr).toBe('ls: /dev/kvm: No such file or directory\n');
    const entries = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(entries.map(({ level }) => level)).toEqual(entries.map(() => 'warning'));
    const told = entries.map(({ msg }) => msg).join('\n');
    for (const field of [
      'linux.devices: /dev/kvm are left out',
      'linux.namespaces has no ipc namespace',
      'linux.namespaces has no uts namespace',
      'mounts[3] (/mnt) is shared',
      'process.apparmorProfile is ignored',
      'process.selinuxLabel is ignored',
      'process.ioPriority is ignored',
      'linux.resources.memory.swappiness is ignored',
    ]) {
      expect(told).toContain(field);
    }
  });
});
