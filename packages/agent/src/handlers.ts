/** The methods of AgentService (proto/coracle/v1/agent.proto). */
import { release } from 'node:os';
import { type AgentHandlers, Cause, type ExitCause, type ProcessHandle, RpcError } from '@coracle/wire';
import { type BootTimeline, uptimeMs } from './boot-timeline.ts';
import { invalid } from './check.ts';
import type { LinkCounters } from './counters.ts';
import type { Crun } from './crun.ts';
import { guestMemory } from './guest-memory.ts';
import type { LinkCapture } from './link-capture.ts';
import type { Process } from './process.ts';
import { type Sandbox, sizeOf } from './sandbox.ts';

export interface HandlerContext {
  readonly sandbox: Sandbox;
  readonly crun: Crun;
  readonly local: boolean;
  readonly bootMs: number;
  /** Of a guest. */
  readonly timeline: BootTimeline | undefined;
  readonly counters: LinkCounters;
  /** Of the link. */
  capture(): LinkCapture;
  /** Called when the sandbox is destroyed; the answer has not left yet. */
  destroyed(): void;
  /** The same after a rehearsal. */
  rehearsed(): void;
}

export const AGENT_VERSION = '0.1.0';

export function agentHandlers({
  sandbox,
  crun,
  local,
  bootMs,
  timeline,
  counters,
  capture,
  destroyed,
  rehearsed,
}: HandlerContext): AgentHandlers {
  return {
    async getAgentDetails() {
      return {
        agentVersion: AGENT_VERSION,
        kernelRelease: release(),
        nodeVersion: process.versions.node,
        crunVersion: await crun.version().catch(() => 'unknown'),
        local,
        residentBytes: BigInt(process.memoryUsage.rss()),
        bootMs: BigInt(Math.round(bootMs)),
        sandboxId: sandbox.id,
        bootStages: [...(timeline?.stages() ?? [])],
        memory: local ? undefined : guestMemory(),
        link: counters.message,
        // Last: whoever asks compares it with the time of the answer.
        uptimeMs: local ? 0 : uptimeMs(),
      };
    },
    async createSandbox(request) {
      sandbox.create(request);
      return {};
    },
    async createContainer(request) {
      return { process: handleOf(await sandbox.createContainer(request)) };
    },
    async startContainer({ containerId }) {
      await sandbox.container(containerId).start();
      return {};
    },
    async execProcess(request) {
      const container = sandbox.container(request.containerId);
      const stdio = { stdin: request.stdin, size: sizeOf(request) };
      return { process: handleOf(await container.exec(request.execId, request.process, stdio)) };
    },
    async signalProcess({ containerId, execId, signal, all }) {
      if (signal < 1 || signal > 64) throw invalid('signal', `must be 1 to 64, it is ${signal}`);
      const container = sandbox.container(containerId);
      if (all) container.signalAll(signal);
      else container.signal(execId, signal);
      return {};
    },
    async waitProcess({ containerId, execId }, { signal }) {
      const process = sandbox.container(containerId).process(execId);
      const exit = await abortable(process.exited, signal);
      process.tellExit();
      const { waitStatus, message, exitedAtNs } = exit;
      // The numbers are the same by definition.
      const cause = Cause[exit.cause] as number as ExitCause;
      return { exit: { cause, waitStatus, message, exitedAtNs } };
    },
    async listProcesses({ containerId }) {
      return { pids: sandbox.container(containerId).pids() };
    },
    async pauseContainer({ containerId }) {
      await sandbox.container(containerId).pause();
      return {};
    },
    async resumeContainer({ containerId }) {
      await sandbox.container(containerId).resume();
      return {};
    },
    async statsContainer({ containerId }) {
      return sandbox.container(containerId).stats();
    },
    async updateContainer({ containerId, resources }) {
      await sandbox.container(containerId).update(resources);
      return {};
    },
    async waitOutOfMemory({ containerId, knownKills }, { signal }) {
      const waiting = sandbox.container(containerId).outOfMemory(Number(knownKills), signal);
      const { kills, stopped } = await abortable(waiting, signal);
      return { kills: BigInt(kills), stopped };
    },
    async removeContainer({ containerId, force }) {
      await sandbox.removeContainer(containerId, force);
      return {};
    },
    async updateNetwork(request) {
      await sandbox.updateNetwork(request);
      return {};
    },
    async forwardNames({ address }) {
      return { process: handleOf(await sandbox.forwardNames(address)) };
    },
    async setClock({ hostTimeNs }) {
      sandbox.setClock(hostTimeNs);
      return {};
    },
    async readCapture({ captureId, content, offset }, { signal }) {
      const options = { captureId, content, offset: Number(offset) };
      return { pcapng: await capture().read(options, sandbox.id, signal) };
    },
    async destroySandbox() {
      if (await sandbox.destroy()) destroyed();
      else rehearsed();
      return {};
    },
  };
}

function handleOf(process: Process): ProcessHandle {
  const { number, token, terminal, stdin, pid } = process;
  return { process: number, token, terminal, stdin, pid };
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new RpcError('cancelled', 'nobody waits any more'));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
