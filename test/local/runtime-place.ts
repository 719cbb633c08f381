/** A place for tests of the command line: state, run folder and bundles of its own, and `bin/coracle` as it is installed. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { containerConfig } from '../support/config.ts';
import { allProcesses, killPid, readProc } from '../support/processes.ts';
import { AtTerminal, type Ended, type RunOptions, run } from '../support/program.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { until } from '../support/wait.ts';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
export const coracle = join(repository, 'bin/coracle');

export class RuntimePlace {
  readonly folder = mkdtempSync(join(tmpdir(), 'crt-'));
  readonly root = join(this.folder, 'state');
  readonly run = join(this.folder, 'run');
  readonly rootfs = join(this.folder, 'rootfs');
  readonly env: Record<string, string>;
  #bundles = 0;

  constructor() {
    if (!existsSync(coracle)) throw new Error(`${coracle} is not there: run make build`);
    makeRootfs(this.rootfs);
    this.env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: process.env.HOME ?? '/root',
      CORACLE_DRIVER: 'local',
      CORACLE_RUN: this.run,
    };
  }

  /** A bundle whose process runs `args`. `change` edits its config.json. */
  bundle(args: readonly string[], change: (config: never) => void = () => {}): string {
    const folder = join(this.folder, `bundle-${++this.#bundles}`);
    mkdirSync(folder);
    const config = containerConfig(args, { rootfs: this.rootfs });
    change(config as never);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    return folder;
  }

  arguments(args: readonly string[]): string[] {
    return ['--root', this.root, ...args];
  }

  coracle(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return run(coracle, this.arguments(args), { ...options, env: { ...this.env, ...options.env } });
  }

  /** Runs `coracle` at a terminal of its own, as its session's leader. */
  atTerminal(args: readonly string[], size = { columns: 97, rows: 31 }): AtTerminal {
    return new AtTerminal(coracle, this.arguments(args), this.env, size);
  }

  /** Processes of this place: with its folder in their command line or environment. The shared proxy leaves by itself. */
  processes({ proxy = false } = {}): string[] {
    return allProcesses()
      .filter(
        ({ pid, commandLine }) =>
          (commandLine + readProc(pid, 'environ')).includes(this.folder) &&
          (proxy || !commandLine.includes('coracle-proxy')),
      )
      .map(({ pid, commandLine }) => `${pid} ${commandLine.replaceAll('\0', ' ')}`);
  }

  /** Containers that there are. */
  ids(): string[] {
    return existsSync(this.root) ? readdirSync(this.root) : [];
  }

  /** What a container leaves when it is gone: nothing but the shared proxy, which leaves when it is idle. */
  leftovers(): string[] {
    const folders = [this.root, join(this.run, 'sandboxes')].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [],
    );
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.folder));
    return [...folders, ...mounts, ...this.processes()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const line of this.processes({ proxy: true })) killPid(Number(line.split(' ')[0]), 'SIGKILL');
    await until(() => this.processes({ proxy: true }).length === 0, 'all processes are gone');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
