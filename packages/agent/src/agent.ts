/** Puts the parts together: the same in a guest and in the local tier. */
import { mkdirSync } from 'node:fs';
import { RequestServer } from '@coracle/wire';
import type { BootTimeline } from './boot-timeline.ts';
import { LinkCounters } from './counters.ts';
import { Crun } from './crun.ts';
import { findCrun } from './crun-program.ts';
import { agentHandlers } from './handlers.ts';
import { AGENT_LIMITS, type AgentLimits } from './limits.ts';
import { LinkCapture } from './link-capture.ts';
import { ProcessTable } from './processes.ts';
import { Reaper } from './reaper.ts';
import { Sandbox } from './sandbox.ts';
import { SessionHost } from './session.ts';
import { openNull } from './stdio.ts';
import { failureOf } from './wait-failure.ts';

export interface Agent {
  readonly sandbox: Sandbox;
  readonly sessions: SessionHost;
  readonly reaper: Reaper;
  /** Runs a helper program with nothing as its stdio. @throws Error when it fails */
  runHelper(args: readonly string[]): Promise<void>;
}

export interface AgentConfiguration {
  readonly stateFolder: string;
  readonly local: boolean;
  readonly bootMs: number;
  /** Of a guest. */
  readonly timeline?: BootTimeline;
  /** Those of docs/limits.md unless given. */
  readonly limits?: AgentLimits;
  destroyed(): void;
}

export function createAgent({
  stateFolder,
  local,
  bootMs,
  timeline,
  limits = AGENT_LIMITS,
  destroyed,
}: AgentConfiguration): Agent {
  // Others may pass: a container in a user namespace has its root below it, and is nobody here.
  mkdirSync(stateFolder, { recursive: true, mode: local ? 0o700 : 0o711 });
  const reaper = new Reaper();
  reaper.begin();
  const crun = new Crun(findCrun(stateFolder, local), reaper, stateFolder);
  const counters = new LinkCounters();
  const processes = new ProcessTable(limits.maxProcesses, counters);
  const sandbox = new Sandbox({
    crun,
    reaper,
    processes,
    stateFolder,
    local,
    maxExecRecords: limits.maxExecRecords,
  });
  // The answers hold tokens of processes that are no more.
  const rehearsed = () => {
    server.forgetAnswers();
    counters.reset();
  };
  const capture = () => linkCapture;
  const context = { sandbox, crun, local, bootMs, timeline, counters, capture, destroyed, rehearsed };
  const server: RequestServer = new RequestServer(agentHandlers(context));
  const sessions = new SessionHost(processes, server, counters);
  const linkCapture = new LinkCapture(sessions);
  return {
    sandbox,
    sessions,
    reaper,
    runHelper: (args) => runHelper(reaper, args),
  };
}

async function runHelper(reaper: Reaper, args: readonly string[]): Promise<void> {
  const stdio = openNull();
  try {
    const file = args[0] as string;
    const failure = failureOf(await reaper.run({ file, args, env: {}, descriptors: stdio.child }));
    if (failure !== undefined) throw new Error(`${args.join(' ')} ${failure}`);
  } finally {
    stdio.close();
  }
}
