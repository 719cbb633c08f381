/** The agent as pid 1 of a VM. It never ends by itself: it powers the machine off. */
import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { reboot, sync } from '@coracle/sys';
import { type Agent, createAgent } from './agent.ts';
import { bootSteps } from './boot.ts';
import { bootHooks, runBootHook } from './boot-hooks.ts';
import { BootTimeline, uptimeMs } from './boot-timeline.ts';
import { answersSent } from './farewell.ts';
import { openLink, type Reopenable } from './link-guest.ts';
import type { PortLink } from './link-port.ts';
import { reasonOf, say, setLogLevel } from './log.ts';
import type { GuestOptions } from './options.ts';
import { becomeTemplate } from './template.ts';

/** Stages that the host looks for on the console (packages/image, boot-protocol.ts). */
const BEGUN = 'coracle-boot: agent';
const READY = 'coracle-boot: ready';
/**
 * What was compiled once stays compiled, and is compiled again only when it runs much. The two compilers between the
 * interpreter and the optimizing one save little here: under emulation they, and what they make, have to be translated.
 */
const V8_FLAGS = ['--no-flush-bytecode', '--no-sparkplug', '--no-maglev'];
/** Said before each hook, so that one that hangs is the last thing on the console. */
const hookLine = (name: string): string => `coracle-boot: hook ${name}`;
const failedLine = (step: string, why: string): string => `coracle-boot: failed: ${step}: ${why}`;

export async function runGuest({ link, logLevel, template, stateFolder }: GuestOptions): Promise<void> {
  for (const flag of V8_FLAGS) setFlagsFromString(flag);
  const timeline = new BootTimeline();
  const runStep = stepRunner(timeline);
  await runStep('say so', () => say(BEGUN));
  const handlersMs = uptimeMs();
  process.on('uncaughtException', (error) =>
    powerOff(`coracle-agent: fatal: ${error.stack ?? reasonOf(error)}`),
  );
  // Pid 1 has no default actions to fear, and the machine has other ways to be switched off.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {});
  // A daemon's SIGHUP: begin anew. Here it is the link that is opened again, should it ever be stuck.
  let opened: Reopenable | undefined;
  process.on('SIGHUP', () => opened?.reopen());
  // Signals alone do not keep the event loop alive, and pid 1 must not run out of work.
  setInterval(() => {}, 0x7fff_ffff);
  timeline.step('signal handlers', handlersMs);
  for (const step of bootSteps) await runStep(step.name, step.run);
  setLogLevel(logLevel());
  let agent: Agent | undefined;
  await runStep('create agent', () => {
    agent = createAgent({
      stateFolder,
      local: false,
      bootMs: uptimeMs(),
      timeline,
      destroyed: () => void destroyed(agent as Agent),
    });
  });
  let hooks: readonly string[] = [];
  await runStep('boot hooks', () => {
    hooks = bootHooks();
  });
  for (const name of hooks) {
    say(hookLine(name));
    await runStep(`boot hook ${name}`, () => runBootHook(name, (agent as Agent).reaper));
  }
  await runStep('link', () => {
    let first = true;
    opened = openLink(link(), (agent as Agent).sessions, () => {
      if (first) {
        timeline.moment('ready');
        say(READY);
      }
      first = false;
    });
  });
  timeline.moment('link');
  if (template())
    await runStep('become a template', () => becomeTemplate(agent as Agent, opened as PortLink));
}

/** Where a step would be told by the name of a moment. */
const stageNames: ReadonlyMap<string, string> = new Map([['link', 'open link']]);

function stepRunner(timeline: BootTimeline) {
  return async (name: string, run: () => void | Promise<void>): Promise<void> => {
    const beganMs = uptimeMs();
    try {
      await run();
    } catch (error) {
      powerOff(failedLine(name, reasonOf(error)));
      // Not reached unless the machine refuses to end: nothing more is done then.
      await new Promise(() => {});
    }
    timeline.step(stageNames.get(name) ?? name, beganMs);
  };
}

async function destroyed(agent: Agent): Promise<void> {
  await answersSent(agent.sessions);
  powerOff(undefined);
}

function powerOff(lastWords: string | undefined): void {
  if (lastWords !== undefined) say(lastWords);
  sync();
  // Without ACPI (microvm) there is no power button; with -no-reboot a restart ends QEMU as well.
  reboot(existsSync('/sys/firmware/acpi') ? 'powerOff' : 'restart');
}
