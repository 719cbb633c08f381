/** Streams that stand still: no credit, an exit that waits for bytes, an input that was never closed. */
import type { ProcessFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import type { StreamFlow } from '../model/stream-flow.ts';
import {
  type CheckContext,
  capital,
  clientText,
  type Finding,
  grouped,
  lasts,
  numbers,
  processText,
  sinceText,
  streamText,
} from './finding.ts';

export function* checkStreams(flow: SandboxFlow, context: CheckContext): Generator<Finding> {
  for (const process of flow.processes.values()) {
    for (const stream of process.outputs) {
      if (stream.complete) continue;
      if (waits(process, stream, context)) yield exitWaits(flow, process, stream, context);
      else if (lasts(stream.blocked, context)) yield outputWithoutCredit(flow, process, stream, context);
    }
    if (process.exit === undefined && lasts(process.stdin.blocked, context))
      yield inputWithoutCredit(flow, process, context);
    else if (isInputOpen(process, context)) yield inputOpen(flow, process, context);
  }
}

/** Its process has exited, and not all of its output is delivered. Whose client is gone is said elsewhere. */
function waits(process: ProcessFlow, stream: StreamFlow, context: CheckContext): boolean {
  return (
    process.owner !== 0 && (stream.final ?? 0) > 0 && lasts(process.exit, context) && settled(stream, context)
  );
}

/** A reader that is slow still moves. */
function settled(stream: StreamFlow, context: CheckContext): boolean {
  return [stream.lastData, stream.lastWindow].every((seen) => seen === undefined || lasts(seen, context));
}

function exitWaits(
  flow: SandboxFlow,
  process: ProcessFlow,
  stream: StreamFlow,
  context: CheckContext,
): Finding {
  const final = stream.final ?? 0;
  const delivered = stream.delivered ?? 0;
  const sent = stream.next ?? 0;
  const who = processText(flow, process.number);
  const missing = `bytes ${grouped(delivered)} to ${grouped(final)} of its ${stream.kind}`;
  const why =
    sent >= final
      ? `They have been sent, and ${clientText(flow, process.owner)} has not said that it delivered them. ${holder(flow, process)}`
      : stream.blocked === undefined
        ? `From ${grouped(sent)} on the agent has not sent them, though it may: the guest stands still.`
        : `The agent may not send the rest: ${clientText(flow, process.owner)} gives no credit. ${holder(flow, process)}`;
  return {
    cause: 'exit_waits',
    level: 'problem',
    sandbox: flow.sandbox,
    process: process.number,
    stream: stream.id,
    title: `the exit of ${who} waits for ${stream.kind}`,
    text: `It has exited, ${sinceText(process.exit as { number: number; timeNs: number }, context)}, and is not reported before ${missing} are delivered. ${why}`,
    evidence: numbers(process.exit, stream.lastData, stream.lastWindow),
  };
}

/** Who holds up an output. */
function holder(flow: SandboxFlow, process: ProcessFlow): string {
  const client = flow.clients.get(process.owner);
  if (client?.waitsForClient !== undefined)
    return `It does not even read its socket: ${grouped(client.waitsForClient.bytes)} bytes wait in the proxy for it. It is stopped or stuck itself.`;
  return 'It reads its socket, so it lives: whoever reads what it writes has stopped reading.';
}

function outputWithoutCredit(
  flow: SandboxFlow,
  process: ProcessFlow,
  stream: StreamFlow,
  context: CheckContext,
): Finding {
  const since = stream.blocked as { number: number; timeNs: number };
  const counts = `${grouped(stream.next ?? 0)} bytes were sent, ${grouped(stream.delivered ?? 0)} delivered`;
  const why =
    process.owner === 0
      ? 'Nobody is attached to it.'
      : `${capital(clientText(flow, process.owner))} holds it up. ${holder(flow, process)}`;
  return {
    cause: 'no_credit',
    level: 'problem',
    sandbox: flow.sandbox,
    process: process.number,
    stream: stream.id,
    title: `${streamText(flow, stream.id)} has no credit`,
    text: `It may not be sent on ${sinceText(since, context)}: ${counts}. ${why} The process blocks in its next write.`,
    evidence: numbers(stream.lastWindow, stream.blocked),
  };
}

function inputWithoutCredit(flow: SandboxFlow, process: ProcessFlow, context: CheckContext): Finding {
  const { stdin } = process;
  const since = stdin.blocked as { number: number; timeNs: number };
  const waiting = flow.clients.get(process.owner)?.waitsForGuest;
  const why =
    waiting === undefined
      ? `${capital(processText(flow, process.number))} does not read its stdin.`
      : `${grouped(waiting.bytes)} bytes wait in the proxy for the guest: it reads nothing at all.`;
  return {
    cause: 'no_credit',
    level: 'problem',
    sandbox: flow.sandbox,
    process: process.number,
    stream: stdin.id,
    title: `${streamText(flow, stdin.id)} has no credit`,
    text: `It may not be sent on ${sinceText(since, context)}: ${grouped(stdin.next ?? 0)} bytes were sent, ${grouped(stdin.delivered ?? 0)} delivered. ${why}`,
    evidence: numbers(stdin.lastWindow, stdin.blocked),
  };
}

/** Bytes went in, nothing has moved since, and the end of file was never said. */
function isInputOpen(process: ProcessFlow, context: CheckContext): boolean {
  const { stdin, exit, made } = process;
  return (
    exit === undefined &&
    process.owner !== 0 &&
    stdin.bytes > 0 &&
    stdin.final === undefined &&
    stdin.stopped === undefined &&
    made?.terminal !== true &&
    process.outputs.every(({ blocked }) => blocked === undefined) &&
    lasts(process.last, context)
  );
}

function inputOpen(flow: SandboxFlow, process: ProcessFlow, context: CheckContext): Finding {
  const who = processText(flow, process.number);
  return {
    cause: 'input_open',
    level: 'hint',
    sandbox: flow.sandbox,
    process: process.number,
    stream: process.stdin.id,
    title: `${who} may wait for the end of its stdin`,
    text: `${grouped(process.stdin.bytes)} bytes of stdin were sent, and ${clientText(flow, process.owner)} has not closed it; nothing of this process has moved ${sinceText(process.last as { number: number; timeNs: number }, context)}. A program that reads to the end of file waits for ever.`,
    evidence: numbers(process.stdin.lastData, process.last),
  };
}
