/** The link to the guest, and connections that come and go. */
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { Seen } from '../model/stream-flow.ts';
import { formatSpan } from '../words/text.ts';
import {
  type CheckContext,
  capital,
  describeClient,
  type Finding,
  grouped,
  lasts,
  numbers,
  processText,
  sinceText,
} from './finding.ts';

/** So many ends within so long are no accident. */
const LOOP_ENDS = 4;
const LOOP_NS = 60e9;

export function* checkLink(flow: SandboxFlow, context: CheckContext): Generator<Finding> {
  const { sandbox } = flow;
  if (flow.link === 'opening' && lasts(flow.linkSince, context))
    yield {
      cause: 'link_silent',
      level: 'problem',
      sandbox,
      title: 'the agent does not answer',
      text: `The proxy has greeted it ${sinceText(flow.linkSince, context)}, and there is no answer: the guest still boots, is paused, or its agent has died.`,
      evidence: numbers(flow.linkSince),
    };
  yield* checkLoops(flow);
  const lost = flow.linkEnds.findLast(({ code }) => code === 'unavailable' || code === 'not_found');
  const running = [...flow.processes.values()].filter(({ exit }) => exit === undefined);
  if (lost !== undefined && !flow.destroyed && (running.length > 0 || flow.link === 'closed'))
    yield {
      cause: 'vm_lost',
      level: 'problem',
      sandbox,
      title: 'the VM was lost',
      text: `${sentence(lost.text)} Nobody had asked for that (DestroySandbox). ${running.length === 0 ? 'No process ran.' : `Without an exit are ${running.map(({ number }) => processText(flow, number)).join(', ')}.`}`,
      evidence: numbers(lost),
    };
  // Streams that have no credit say so themselves.
  const blocking = new Set(
    [...flow.processes.values()]
      .filter(({ outputs }) => outputs.some(({ blocked }) => blocked !== undefined))
      .map(({ owner }) => owner),
  );
  for (const client of flow.clients.values()) {
    if (client.closed === undefined && lasts(client.waitsForGuest?.since, context))
      yield {
        cause: 'guest_silent',
        level: 'problem',
        sandbox,
        title: 'the guest does not read',
        text: `${grouped(client.waitsForGuest.bytes)} bytes of ${describeClient(client)} wait in the proxy for it ${sinceText(client.waitsForGuest.since, context)}. The VM is paused, or its agent is stuck.`,
        evidence: numbers(client.waitsForGuest.since, flow.lastFromGuest),
      };
    const blocks = blocking.has(client.number);
    if (client.closed === undefined && !blocks && lasts(client.waitsForClient?.since, context))
      yield {
        cause: 'client_stuck',
        level: 'problem',
        sandbox,
        title: `${describeClient(client)} does not read`,
        text: `${grouped(client.waitsForClient.bytes)} bytes wait in the proxy for it ${sinceText(client.waitsForClient.since, context)}.`,
        evidence: numbers(client.waitsForClient.since),
      };
  }
}

function* checkLoops(flow: SandboxFlow): Generator<Finding> {
  // A link that ends ends its clients, too: once is enough.
  const links = densest(flow.linkEnds.filter(({ code }) => code !== 'cancelled'));
  const clients = densest(flow.clientEnds.filter(({ code }) => code !== 'resource_exhausted'));
  const proxies = densest(flow.sections.slice(1));
  const loop = (what: string, ends: readonly Seen[], why: string): Finding => ({
    cause: 'reconnect_loop',
    level: 'problem',
    sandbox: flow.sandbox,
    title: `${what} again and again`,
    text: `${ends.length} times within ${formatSpan((ends.at(-1)?.timeNs ?? 0) - (ends[0]?.timeNs ?? 0))}. ${why}`,
    evidence: numbers(...ends.slice(0, 3), ends.at(-1)),
  });
  if (links.length >= LOOP_ENDS)
    yield loop('the link ends', links, `Mostly: ${sentence(mostFrequent(links.map(({ text }) => text)))}`);
  else if (clients.length >= LOOP_ENDS)
    yield loop(
      'clients are cut off and come again',
      clients,
      `Mostly: ${sentence(mostFrequent(clients.map(({ text }) => text)))}`,
    );
  if (proxies.length >= LOOP_ENDS)
    yield loop(
      'the proxy ends',
      proxies,
      'The capture went on with another one each time. Its log, beside its socket, says whether it was killed or failed.',
    );
}

/** As many as lie within a minute. */
function densest<T extends Seen>(ends: readonly T[]): readonly T[] {
  let best: readonly T[] = [];
  let first = 0;
  for (let last = 0; last < ends.length; last++) {
    while ((ends[last]?.timeNs ?? 0) - (ends[first]?.timeNs ?? 0) > LOOP_NS) first++;
    if (last - first + 1 > best.length) best = ends.slice(first, last + 1);
  }
  return best;
}

function mostFrequent(texts: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? '';
}

export function sentence(text: string): string {
  return text === '' ? '' : `${capital(text)}.`;
}
