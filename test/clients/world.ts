/**
 * The engines of one run: a containerd, a dockerd on it, and what Podman needs, in folders of their own and in a
 * mount and a network namespace of their own. Bridges, packet filters and whatever an engine hard-codes below
 * /run (containerd's shims listen in /run/containerd/s) can then collide with nothing on this host, and what an
 * engine forgets ends with the namespaces. What Coracle forgets does not: processes, cgroups and files are the
 * host's, and `leftovers` looks for them.
 *
 *   containerd ◄── dockerd          the containers' processes inherit containerd's environment, and so
 *       ▲                           bin/coracle gets CORACLE_RUN and its like: no wrapper is needed
 *       └── namespaces ◄── docker, ctr, podman, nc … (`inside`)
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { allProcesses, killPid, readProc } from '../support/processes.ts';
import { type Ended, type RunOptions, run } from '../support/program.ts';
import { until } from '../support/wait.ts';
import { Daemon } from './daemon.ts';
import { imageName, makeImages } from './images.ts';
import { type Abilities, findAbilities, systemPath } from './kernel.ts';

export const coracle = fileURLToPath(new URL('../../bin/coracle', import.meta.url));
const prelude = fileURLToPath(new URL('prelude.sh', import.meta.url));

/** What tests get of the running engines; plain data, since vitest hands it to its workers. */
export interface World {
  readonly folder: string;
  /** Whose namespaces `inside` enters. */
  readonly pid: number;
  readonly dockerPid: number;
  /** Of every program that is run inside. */
  readonly env: Readonly<Record<string, string>>;
}

/** A cgroup below which the containers of all engines are, in each hierarchy; named like the folder. */
const cgroupParent = (folder: string) => folder.slice(folder.lastIndexOf('/') + 1);

export class Engines implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;

  static async start(): Promise<Engines> {
    await using stack = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), 'coracle-clients-'));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    startSweeper(folder);
    stack.defer(() => removeCgroups(cgroupParent(folder)));
    stack.defer(() => stopProxy(folder));
    const abilities = await findAbilities(folder);
    const env = environment(folder, abilities);
    const images = makeImages(folder);

    const containerd = stack.use(await startContainerd(folder, env));
    const dockerd = stack.use(await startDockerd(folder, env, containerd.pid));
    const world = { folder, pid: containerd.pid, dockerPid: dockerd.pid, env };
    stack.defer(() => removeContainers(world));
    writePodmanFiles(folder, env, abilities);
    await mustSucceed(
      world,
      `docker import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' ${images.rootfs} ${imageName}`,
    );
    await mustSucceed(world, `ctr image import ${images.archive}`);
    await mustSucceed(world, `podman load -i ${images.archive}`);
    return new Engines(world, stack.move());
  }

  readonly world: World;

  private constructor(world: World, stack: AsyncDisposableStack) {
    this.world = world;
    this.#stack = stack;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/**
 * Runs a line of shell in the engines' namespaces, with the functions of prelude.sh.
 * @throws Error when it takes longer than five minutes
 */
export async function inside(world: World, line: string, options: RunOptions = {}): Promise<Ended> {
  const [file, ...args] = enter(world.pid, [
    'timeout',
    '-k',
    '5',
    '300',
    'sh',
    '-c',
    `. ${prelude}\n${line}`,
  ]);
  const ended = await run(file, args, { ...options, env: { ...world.env, ...options.env } });
  if (ended.code === 124) throw new Error(`it took five minutes: ${line}\n${ended.stderr}${ended.stdout}`);
  return ended;
}

/** The command that runs a line of shell in the engines' namespaces. */
export const inNamespaces = (world: World, line: string) => enter(world.pid, shell(line));

const shell = (line: string) => ['sh', '-c', `. ${prelude}\n${line}`];

export function enter(pid: number, command: readonly string[]): [string, ...string[]] {
  return ['/usr/bin/nsenter', `--target=${pid}`, '--mount', '--net', '--', ...command];
}

async function mustSucceed(world: World, line: string): Promise<void> {
  const { code, stdout, stderr } = await inside(world, line);
  if (code !== 0) throw new Error(`${line} ended with ${code}: ${stderr}${stdout}`);
}

function environment(folder: string, { overlay, programs }: Abilities): Record<string, string> {
  return {
    PATH: `${programs}:${systemPath}`,
    DOCKER_DRIVER: overlay ? 'overlay2' : 'vfs',
    CONTAINERD_SNAPSHOTTER: overlay ? 'overlayfs' : 'native',
    HOME: join(folder, 'home'),
    CORACLE_RUN: join(folder, 'run'),
    CORACLE_TEMPLATE: process.env.CORACLE_TEMPLATE ?? 'auto',
    // Templates and the verdict on KVM outlive a run: HOME above is not theirs.
    CORACLE_CACHE: process.env.CORACLE_CACHE ?? join(homedir(), '.cache/coracle'),
    DOCKER_HOST: `unix://${folder}/docker.sock`,
    CONTAINERD_ADDRESS: join(folder, 'containerd.sock'),
    CONTAINERD_NAMESPACE: cgroupParent(folder),
    CONTAINERS_CONF: join(folder, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
    IMAGE: imageName,
    CGROUP: cgroupParent(folder),
    CORACLE: coracle,
  };
}

function startContainerd(folder: string, env: Record<string, string>): Promise<Daemon> {
  const config = join(folder, 'containerd.toml');
  writeFileSync(
    config,
    `version = 2
root = "${folder}/containerd/root"
state = "${folder}/containerd/state"
# What this machine has no use for, or what tries to load kernel modules.
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "${folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/containerd/opt"
`,
  );
  const namespaces = `mount -t tmpfs tmpfs /run && ip link set lo up && exec containerd --config ${config}`;
  return Daemon.start({
    command: ['unshare', '--mount', '--net', '--', 'sh', '-c', namespaces],
    env,
    logFile: join(folder, 'containerd.log'),
    answers: async () => (await run('ctr', ['version'], { env })).code === 0,
  });
}

/** What the tests change and have reloaded (SIGHUP) stands in the file, see `dockerConfig`. */
function startDockerd(folder: string, env: Record<string, string>, containerd: number): Promise<Daemon> {
  writeDockerConfig(folder, {});
  return Daemon.start({
    command: enter(containerd, ['dockerd', '--config-file', join(folder, 'daemon.json')]),
    env,
    logFile: join(folder, 'dockerd.log'),
    answers: async () => (await run('docker', ['version'], { env })).code === 0,
  });
}

/** Writes daemon.json anew, with what is in `changes`. */
export function writeDockerConfig(folder: string, changes: Readonly<Record<string, unknown>>): void {
  const config = {
    'data-root': join(folder, 'docker/data'),
    'exec-root': join(folder, 'docker/exec'),
    pidfile: join(folder, 'docker/pid'),
    hosts: [`unix://${folder}/docker.sock`],
    containerd: join(folder, 'containerd.sock'),
    'cgroup-parent': `/${cgroupParent(folder)}`,
    'log-level': 'warn',
    runtimes: { coracle: { path: coracle } },
    ...changes,
  };
  writeFileSync(join(folder, 'daemon.json'), JSON.stringify(config, null, 2));
}

/** Podman has no daemon; `podman` finds these files by its environment. */
function writePodmanFiles(
  folder: string,
  env: Readonly<Record<string, string>>,
  { overlay }: Abilities,
): void {
  mkdirSync(join(folder, 'home'), { recursive: true });
  writeFileSync(
    join(folder, 'containers.conf'),
    `[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "${folder}/podman/tmp"
volume_path = "${folder}/podman/volumes"
# Of the variables that a runtime gets through conmon; Podman hands on no others.
conmon_env_vars = ${JSON.stringify(Object.entries(env).map(([name, value]) => `${name}=${value}`))}
[engine.runtimes]
coracle = ["${coracle}"]
runc = ["/usr/sbin/runc"]
[containers]
log_driver = "k8s-file"
# Podman would raise these as far as it can, and runc may not here: CAP_SYS_RESOURCE is missing.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
network_config_dir = "${folder}/podman/networks"
`,
  );
  writeFileSync(
    join(folder, 'storage.conf'),
    `[storage]
driver = "${overlay ? 'overlay' : 'vfs'}"
graphroot = "${folder}/podman/root"
runroot = "${folder}/podman/run"
`,
  );
}

/** Whatever tests have left in the engines: a failed one may have left it running. */
async function removeContainers(world: World): Promise<void> {
  await inside(
    world,
    `docker swarm leave --force; docker ps -aq | xargs -r docker rm -fv
     podman rm -fa -t 0
     for task in $(ctr task ls -q); do ctr task kill -s KILL $task; ctr task rm -f $task; done
     ctr container ls -q | xargs -r ctr container rm`,
  );
}

/** In a session of its own: an interrupt from the keyboard is not for it. */
function startSweeper(folder: string): void {
  const script = fileURLToPath(new URL('sweep.ts', import.meta.url));
  const sweeper = spawn(process.execPath, [script, folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  sweeper.unref();
  (sweeper.stdin as unknown as { unref(): void }).unref();
}

/** Removes all that there is of a run which could not do so itself. */
export async function sweep(folder: string): Promise<void> {
  const parent = cgroupParent(folder);
  const ours = () => [
    ...allProcesses().flatMap(({ pid }) => (belongsTo(pid, folder) ? [pid] : [])),
    // Those of runc's containers have an environment of their own.
    ...cgroups(parent).flatMap(
      (path) => readFileSync(join(path, 'cgroup.procs'), 'utf8').match(/\d+/g) ?? [],
    ),
  ];
  await until(() => {
    for (const pid of ours()) killPid(Number(pid), 'SIGKILL');
    return ours().length === 0;
  }, 'all processes have ended');
  await removeCgroups(parent);
  rmSync(folder, { recursive: true, force: true });
}

/** It leaves by itself when nobody has used it for 10 s. */
async function stopProxy(folder: string): Promise<void> {
  const proxies = () =>
    allProcesses().filter((one) => one.commandLine.includes('coracle-proxy') && belongsTo(one.pid, folder));
  for (const { pid } of proxies()) killPid(pid, 'SIGTERM');
  await until(() => proxies().length === 0, 'the proxy has gone');
}

/** conmon may be on its way out of one. */
async function removeCgroups(parent: string): Promise<void> {
  await until(() => {
    try {
      for (const path of cgroups(parent).toReversed()) rmdirSync(path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
      throw error;
    }
  }, `the cgroups ${parent} are empty`);
}

/** The folders of our cgroups, in each hierarchy, outermost first. */
export function cgroups(parent: string): string[] {
  const below = (path: string): string[] => [
    path,
    ...readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? below(join(path, entry.name)) : [],
    ),
  ];
  const hierarchies = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2');
  return hierarchies.flatMap(([, mountPoint]) => {
    try {
      return below(join(mountPoint!, parent));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  });
}

const belongsTo = (pid: number, folder: string) =>
  (readProc(pid, 'cmdline') + readProc(pid, 'environ')).includes(folder);

/** What containers that are gone have left on the host, as text that can be compared. */
export function leftovers({ folder, pid: containerd, dockerPid }: World): string[] {
  const engines = new Set([containerd, dockerPid]);
  const processes = allProcesses()
    .filter(
      ({ pid, commandLine }) =>
        !engines.has(pid) && !commandLine.includes('coracle-proxy') && belongsTo(pid, folder),
    )
    .map(({ pid, commandLine }) => `process ${pid} ${commandLine.replaceAll('\0', ' ')}`);
  const mounts = readProc(containerd, 'mounts')
    .split('\n')
    .filter((line) => line.includes(folder) || line.includes('coracle'))
    .map((line) => `mount ${line}`);
  const sandboxes = list(join(folder, 'run/sandboxes')).map((name) => `sandbox ${name}`);
  const parent = cgroupParent(folder);
  const groups = cgroups(parent).flatMap((path) => (path.endsWith(parent) ? [] : [`cgroup ${path}`]));
  return [...processes, ...mounts, ...sandboxes, ...groups];
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
