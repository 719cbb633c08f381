/** All commands, in the order of the usage text. Each is loaded when it is called: start-up time counts. */
import type { Command } from './command.ts';

export interface CommandEntry {
  readonly summary: string;
  /** Called by our own programs; not among the commands of the usage text. */
  readonly hidden?: true;
  /** What follows `coracle <name> [flags]`. */
  readonly usage: string;
  load(): Promise<{ readonly default: Command }>;
}

export const commands: Readonly<Record<string, CommandEntry>> = {
  run: { summary: 'create and run a container', usage: 'ID', load: () => import('./commands/run.ts') },
  create: { summary: 'create a container', usage: 'ID', load: () => import('./commands/create.ts') },
  start: {
    summary: 'start the process of a created container',
    usage: 'ID',
    load: () => import('./commands/start.ts'),
  },
  exec: {
    summary: 'run another process in a container',
    usage: 'ID COMMAND [ARG...]',
    load: () => import('./commands/exec.ts'),
  },
  kill: {
    summary: "send a signal (default: SIGTERM) to a container's first process",
    usage: 'ID [SIGNAL]',
    load: () => import('./commands/kill.ts'),
  },
  delete: {
    summary: 'delete a container and its virtual machine',
    usage: 'ID',
    load: () => import('./commands/delete.ts'),
  },
  state: {
    summary: 'print the state of a container',
    usage: 'ID',
    load: () => import('./commands/state.ts'),
  },
  list: { summary: 'list containers', usage: '', load: () => import('./commands/list.ts') },
  ps: { summary: 'list the processes in a container', usage: 'ID', load: () => import('./commands/ps.ts') },
  pause: {
    summary: 'suspend all processes of a container',
    usage: 'ID',
    load: () => import('./commands/pause.ts'),
  },
  resume: {
    summary: 'resume all processes of a paused container',
    usage: 'ID',
    load: () => import('./commands/resume.ts'),
  },
  update: {
    summary: 'change the limits of a container while it runs',
    usage: 'ID',
    load: () => import('./commands/update.ts'),
  },
  events: {
    summary: 'print what a container uses, and when the kernel kills in it for want of memory',
    usage: 'ID',
    load: () => import('./commands/events.ts'),
  },
  spec: { summary: 'write a config.json to start from', usage: '', load: () => import('./commands/spec.ts') },
  doctor: {
    summary: 'check whether this host can run containers',
    usage: '',
    load: () => import('./commands/doctor.ts'),
  },
  debug: {
    summary: 'collect what is known of a container that misbehaves into one archive, without user data',
    usage: 'CONTAINER|SANDBOX',
    load: () => import('./commands/debug.ts'),
  },
  pool: {
    summary: 'keep VMs waiting, so that containers start sooner, until it is ended',
    usage: '',
    load: () => import('./commands/pool.ts'),
  },
  env: {
    summary: 'print the configuration in force, and where it comes from',
    usage: '',
    load: () => import('./commands/env.ts'),
  },
  features: {
    summary: 'print what is supported, for engines (features.md of the OCI specification)',
    usage: '',
    load: () => import('./commands/features.ts'),
  },
  template: {
    summary: 'list, build, prune or verify the templates that VMs are started from',
    usage: 'list|build|prune|verify',
    load: () => import('./commands/template.ts'),
  },
  install: {
    summary: "add this runtime to an engine's configuration, and show the change",
    usage: '--docker',
    load: () => import('./commands/install.ts'),
  },
  uninstall: {
    summary: "take it out of an engine's configuration",
    usage: '--docker',
    load: () => import('./commands/uninstall.ts'),
  },
  gc: { summary: 'remove what crashes have left behind', usage: '', load: () => import('./commands/gc.ts') },
  'sync-network': {
    summary: "give a container's virtual machine the network that its namespace has by now",
    usage: 'ID',
    hidden: true,
    load: () => import('./commands/sync-network.ts'),
  },
  version: { summary: 'print the version', usage: '', load: () => import('./commands/version.ts') },
};
