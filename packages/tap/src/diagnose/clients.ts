/** Who is attached to what: clients that are gone, cut off, refused, or take a process from each other. */
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import {
  type CheckContext,
  capital,
  clientText,
  describeClient,
  type Finding,
  lasts,
  numbers,
  processText,
  sinceText,
} from './finding.ts';
import { sentence } from './link.ts';

/** Once or twice is handing over. */
const TAKEN_TOO_OFTEN = 3;

export function* checkClients(flow: SandboxFlow, context: CheckContext): Generator<Finding> {
  const { sandbox } = flow;
  for (const process of flow.processes.values()) {
    const who = processText(flow, process.number);
    const client = process.abandoned?.client;
    const closed = client?.closed;
    // One that says that it is done leaves on purpose; when the link has ended it comes again, or the VM is lost.
    if (
      client !== undefined &&
      closed?.code === 'unavailable' &&
      flow.link === 'open' &&
      lasts(closed, context)
    )
      yield {
        cause: 'client_gone',
        level: 'problem',
        sandbox,
        process: process.number,
        title: `nobody is attached to ${who}`,
        text: `${capital(describeClient(client))} has gone without a word ${sinceText(closed, context)} (${closed.text}), and no other has attached. ${process.exit === undefined ? 'The process runs on until its output has no credit' : 'It has exited'}; nobody reports its exit.`,
        evidence: numbers(closed, process.exit),
      };
    if (process.takenOver.length >= TAKEN_TOO_OFTEN)
      yield {
        cause: 'taken_over',
        level: 'problem',
        sandbox,
        process: process.number,
        title: `clients take ${who} from each other`,
        text: `It has changed hands ${process.takenOver.length} times: ${[...new Set(process.takenOver.map(({ from }) => clientText(flow, from)))].join(', ')} lost it. The last one to attach owns a process; two programs have the same token.`,
        evidence: numbers(...process.takenOver.slice(0, 4)),
      };
  }
  for (const end of flow.clientEnds) {
    if (end.code !== 'resource_exhausted') continue;
    yield {
      cause: 'client_cut_off',
      level: 'problem',
      sandbox,
      title: `${clientText(flow, end.connection)} was cut off`,
      text: `${sentence(end.text)} It comes again and loses nothing, but it reads too slowly for what it has asked for.`,
      evidence: numbers(end),
    };
  }
  for (const refusal of flow.refusals) {
    yield {
      cause: 'refused',
      // A process that was removed meanwhile is not there any more: that happens.
      level: refusal.code === 'not_found' ? 'hint' : 'problem',
      sandbox,
      title: `${clientText(flow, refusal.connection)} may not have ${processText(flow, refusal.process)}`,
      text: `${sentence(`${refusal.message} [${refusal.code}]`)}`,
      evidence: numbers(refusal),
    };
  }
}
