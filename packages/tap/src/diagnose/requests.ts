/** Requests that nobody answers. */
import type { RequestFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import {
  type CheckContext,
  capital,
  clientText,
  type Finding,
  lasts,
  numbers,
  sinceText,
} from './finding.ts';

export function* checkRequests(flow: SandboxFlow, context: CheckContext): Generator<Finding> {
  // While the link is not open nothing is asked: that is said elsewhere.
  for (const request of flow.requests.values()) {
    if (!lasts(request.asked, context)) continue;
    if (request.method !== 'WaitProcess') yield unanswered(flow, request, context);
    else if (lasts(exitOf(flow, request), context)) yield unanswered(flow, request, context);
  }
}

/** Waiting takes as long as the process does. */
function exitOf(flow: SandboxFlow, { container, exec }: RequestFlow) {
  for (const process of flow.processes.values()) {
    const name = flow.names.process(process.number);
    if (name?.container === container && name.exec === exec) return process.exit;
  }
  return undefined;
}

function unanswered(flow: SandboxFlow, request: RequestFlow, context: CheckContext): Finding {
  const target = request.exec === '' ? request.container : `exec ${request.exec} of ${request.container}`;
  const what = `${request.method}${target === '' ? '' : ` of ${target}`}`;
  const heard = flow.lastFromGuest;
  const silent = heard === undefined || heard.number < request.asked.number;
  const why = silent
    ? 'The guest has sent nothing at all since then: it is paused, or its agent is stuck.'
    : `The guest sends other frames (the last is #${heard.number}), so its agent lives: this one method hangs in it.`;
  return {
    cause: 'request_unanswered',
    level: 'problem',
    sandbox: flow.sandbox,
    title: `${what} is not answered`,
    text: `${capital(clientText(flow, request.connection))} waits for it ${sinceText(request.asked, context)}. ${why}`,
    evidence: numbers(request.asked, heard),
  };
}
