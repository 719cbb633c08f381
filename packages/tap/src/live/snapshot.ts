/**
 * What is to be seen of all sandboxes at one moment: a plain value, so that it can be frozen, filtered and drawn without
 * looking at what goes on meanwhile.
 */
import { clientText, describeClient, type Finding } from '../diagnose/finding.ts';
import { describeStreamId } from '../model/names.ts';
import type { ClientFlow, ProcessFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import type { StreamFlow } from '../model/stream-flow.ts';
import { describeExit } from '../words/explain.ts';
import { count, formatBytes, formatSpan } from '../words/text.ts';
import type { Feed, FeedState } from './feed.ts';
import type { Rates } from './rates.ts';
import type { Size } from './screen.ts';

export type Level = 'flowing' | 'idle' | 'warning' | 'problem' | 'done';

export interface Row {
  /** Of the row itself; a process's begins with its sandbox's, a stream's with its process's. */
  readonly key: string;
  readonly kind: 'sandbox' | 'process' | 'stream';
  readonly name: string;
  readonly level: Level;
  /** Bytes per second, and how that was: the newest last. */
  readonly rate: number;
  readonly history: readonly number[];
  /** Of a stream: what its receiver allows beyond what it has delivered, and what of that is on its way. */
  readonly window?: { readonly allowed: number; readonly unacknowledged: number };
  readonly tripNs?: number;
  /** Of a sandbox and a process: who is there. */
  readonly who?: string;
  readonly state: string;
  /** "waits for client 2", below the row. */
  readonly waits?: string;
  /** Sentences. */
  readonly about: readonly string[];
  /** Of a stream, and of a process its output: what is opened. */
  readonly opens?: {
    readonly sandbox: string;
    readonly streamId: number;
    readonly name: string;
    readonly size: Size | undefined;
  };
}

export interface Snapshot {
  readonly rows: readonly Row[];
  readonly feed: {
    readonly state: FeedState;
    readonly socketPath: string;
    readonly payload: boolean;
    readonly dropped: number;
    readonly proxies: number;
  };
  readonly problems: number;
  readonly toClients: number;
  readonly toGuests: number;
}

/** Who has ended is shown for so long, unless all are wanted. */
const GONE_NS = 5e9;
/** A stream that has sent within this time flows. */
const FLOWS_NS = 1e9;
const STALL_NS = 1e9;
/** More can't be looked at, and would take time that the capture needs. */
const MOST_PROCESSES = 500;

export function takeSnapshot(feed: Feed, rates: Rates, all: boolean): Snapshot {
  const context = {
    startNs: feed.startNs,
    endNs: feed.nowNs,
    stallNs: STALL_NS,
    live: true,
  };
  const rows: Row[] = [];
  let problems = 0;
  for (const flow of feed.diagnoser.flows.sandboxes.values()) {
    if (!all && isGone(flow, context.endNs)) continue;
    const findings = feed.diagnoser.findings(flow, context);
    problems += findings.filter(({ level }) => level === 'problem').length;
    rows.push(...rowsOf(flow, findings, rates, { all, nowNs: context.endNs }));
  }
  const { state, socketPath, payload, dropped, proxies } = feed;
  return {
    rows,
    feed: { state, socketPath, payload, dropped, proxies },
    problems,
    toClients: rates.of('to clients'),
    toGuests: rates.of('to guests'),
  };
}

/** For `Rates`. */
export function countersOf(feed: Feed): Map<string, number> {
  const counters = new Map<string, number>();
  let [toClients, toGuests] = [0, 0];
  for (const flow of feed.diagnoser.flows.sandboxes.values()) {
    let ofSandbox = 0;
    for (const process of flow.processes.values()) {
      const [, stdin, stdout, stderr] = process.streams;
      for (const stream of [stdin, stdout, stderr])
        counters.set(streamKey(flow, process, stream), stream.bytes);
      const output = stdout.bytes + stderr.bytes;
      counters.set(processKey(flow, process), output + stdin.bytes);
      ofSandbox += output + stdin.bytes;
      toClients += output;
      toGuests += stdin.bytes;
    }
    counters.set(flow.sandbox, ofSandbox);
  }
  return counters.set('to clients', toClients).set('to guests', toGuests);
}

const processKey = ({ sandbox }: SandboxFlow, { number }: ProcessFlow): string => `${sandbox}\0${number}`;
const streamKey = (flow: SandboxFlow, process: ProcessFlow, { kind }: StreamFlow): string =>
  `${processKey(flow, process)}\0${kind}`;

function isGone({ link, linkSince }: SandboxFlow, nowNs: number): boolean {
  return link === 'closed' && nowNs - (linkSince?.timeNs ?? 0) > GONE_NS;
}

interface Look {
  readonly all: boolean;
  readonly nowNs: number;
}

function rowsOf(flow: SandboxFlow, findings: readonly Finding[], rates: Rates, look: Look): Row[] {
  const shown = [...flow.processes.values()].filter(
    (process) => look.all || !(process.complete && look.nowNs - (process.last?.timeNs ?? 0) > GONE_NS),
  );
  const processes = shown.slice(-MOST_PROCESSES);
  const clients = [...flow.clients.values()].filter(({ closed }) => closed === undefined);
  const own = findings.filter(({ process }) => process === undefined);
  const more = shown.length - processes.length;
  const sandbox: Row = {
    key: flow.sandbox,
    kind: 'sandbox',
    name: flow.sandbox,
    level: levelOf(own, flow.link === 'closed' ? 'done' : 'idle'),
    rate: rates.of(flow.sandbox),
    history: rates.history(flow.sandbox),
    who: [
      count(clients.length, 'client'),
      ...(flow.requests.size > 0 ? [count(flow.requests.size, 'request')] : []),
      ...(more > 0 ? [`${more} processes more`] : []),
    ].join(', '),
    state: flow.link === 'unknown' ? 'link not seen' : `link ${flow.link}`,
    ...waitsOf(own),
    about: [
      ...sentences(own),
      `Sandbox ${flow.sandbox}: ${count(shown.length, 'process', 'processes')}. ${clients.length === 0 ? 'No client is connected.' : `Connected: ${clients.slice(-4).map(describeClient).join(', ')}${clients.length > 4 ? ' and others' : ''}.`}`,
      ...[...flow.requests.values()]
        .slice(0, 4)
        .map(
          ({ method, connection, asked }) =>
            `${method} of ${clientText(flow, connection)} waits for its answer since ${formatSpan(look.nowNs - asked.timeNs)}.`,
        ),
    ],
  };
  return [sandbox, ...processes.flatMap((process) => processRows(flow, process, findings, rates, look))];
}

function processRows(
  flow: SandboxFlow,
  process: ProcessFlow,
  findings: readonly Finding[],
  rates: Rates,
  look: Look,
): Row[] {
  const key = processKey(flow, process);
  const name = shortName(flow, process);
  const about = findings.filter((finding) => finding.process === process.number);
  const own = about.filter(({ stream }) => stream === undefined);
  const { exit, made, size } = process;
  const owner = process.owner === 0 ? undefined : flow.clients.get(process.owner);
  const streams = process.streams.filter(
    ({ kind, next, final, lastWindow }) =>
      kind !== 'control' && ((next ?? 0) > 0 || (final ?? 0) > 0 || lastWindow !== undefined),
  );
  const opens = {
    sandbox: flow.sandbox,
    streamId: process.streams[2].id,
    name: `${name}.stdout`,
    size: size === undefined ? undefined : { columns: size.columns, rows: size.rows },
  };
  const state = exit === undefined ? (process.owner === 0 ? 'not attached' : 'running') : exitText(exit);
  const row: Row = {
    key,
    kind: 'process',
    name,
    level: levelOf(own, process.complete ? 'done' : 'idle'),
    rate: rates.of(key),
    history: rates.history(key),
    who: [
      ownerText(process, owner),
      ...(made?.terminal ? [size === undefined ? 'tty' : `tty ${size.columns}×${size.rows}`] : []),
    ].join(', '),
    state: exit !== undefined && !process.complete ? `${state}, not told` : state,
    ...waitsOf(own),
    about: [
      ...sentences(own),
      `${capitalised(describeStreamId(flow.names, process.streams[0].id).replace('control of ', ''))}, process ${process.number}: ${exit === undefined ? 'it runs' : `it ${describeExit(exit.cause, exit.waitStatus)}`}. ${process.owner === 0 ? 'Nobody is known to be attached.' : `Its streams belong to ${clientText(flow, process.owner)}.`}${process.attaches > 1 ? ` It was attached ${process.attaches} times.` : ''}`,
      ...(process.lastSignal === undefined
        ? []
        : [
            `Signal ${process.lastSignal.signal} was sent ${formatSpan(look.nowNs - process.lastSignal.timeNs)} ago.`,
          ]),
    ],
    opens,
  };
  return [
    row,
    ...streams.map((stream) =>
      streamRow(flow, process, stream, {
        about,
        rates,
        look,
        opens: { ...opens, streamId: stream.id, name: `${name}.${stream.kind}` },
      }),
    ),
  ];
}

function streamRow(
  flow: SandboxFlow,
  process: ProcessFlow,
  stream: StreamFlow,
  {
    about,
    rates,
    look,
    opens,
  }: { about: readonly Finding[]; rates: Rates; look: Look; opens: NonNullable<Row['opens']> },
): Row {
  const key = streamKey(flow, process, stream);
  const own = about.filter((finding) => finding.stream === stream.id);
  const { limit, delivered = 0, undelivered } = stream;
  const { state, level } = streamState(stream, look.nowNs);
  const waits = waitsFor(flow, process, stream);
  return {
    key,
    kind: 'stream',
    name: stream.kind,
    level: levelOf(own, level),
    rate: rates.of(key),
    history: rates.history(key),
    ...(limit === undefined || stream.complete
      ? {}
      : { window: { allowed: Math.max(0, limit - delivered), unacknowledged: undelivered } }),
    ...(stream.trips === 0 ? {} : { tripNs: stream.lastTripNs }),
    state,
    ...(waits === undefined ? {} : { waits }),
    about: [...sentences(own), describeStream(flow, stream, look.nowNs)],
    opens,
  };
}

function streamState(stream: StreamFlow, nowNs: number): { readonly state: string; readonly level: Level } {
  if (stream.stopped !== undefined) return { state: 'not wanted', level: 'done' };
  if (stream.complete) return { state: 'ended', level: 'done' };
  if (stream.blocked !== undefined)
    return { state: `no credit ${shortSpan(nowNs - stream.blocked.timeNs)}`, level: 'warning' };
  if (stream.final !== undefined) return { state: 'ending', level: 'warning' };
  const flows = nowNs - (stream.lastData?.timeNs ?? Number.NEGATIVE_INFINITY) < FLOWS_NS;
  return flows ? { state: 'flowing', level: 'flowing' } : { state: 'idle', level: 'idle' };
}

/** Whose turn it is. */
function waitsFor(flow: SandboxFlow, process: ProcessFlow, stream: StreamFlow): string | undefined {
  if (stream.blocked === undefined && !(process.exit !== undefined && !stream.complete && stream.final))
    return undefined;
  const client = process.owner === 0 ? 'a client to attach' : clientText(flow, process.owner);
  if (stream.kind === 'stdin') {
    const guest = flow.clients.get(process.owner)?.waitsForGuest;
    return `${client} waits for ${guest === undefined ? 'the process to read' : 'the guest, which reads nothing at all'}`;
  }
  const reads =
    flow.clients.get(process.owner)?.waitsForClient === undefined ? '' : ', which reads nothing at all';
  return process.exit === undefined
    ? `waits for ${client}${reads}`
    : `the exit waits for ${client} to take ${formatBytes((stream.final ?? 0) - (stream.delivered ?? 0))}${reads}`;
}

function describeStream(flow: SandboxFlow, stream: StreamFlow, nowNs: number): string {
  const { next, delivered, limit, final, repeatedBytes, blocks, lastData } = stream;
  const parts = [
    `${capitalised(describeStreamId(flow.names, stream.id))} (stream ${stream.id}): sent to ${number(next)}, delivered to ${number(delivered)}, may be sent to ${number(limit)}`,
    ...(final === undefined ? [] : [`ends at ${number(final)}`]),
    ...(repeatedBytes > 0 ? [`${formatBytes(repeatedBytes)} repeated`] : []),
    ...(blocks > 0 ? [`without credit ${count(blocks, 'time')} for ${formatSpan(stream.blockedNs)}`] : []),
    ...(lastData === undefined ? [] : [`last bytes ${formatSpan(nowNs - lastData.timeNs)} ago`]),
  ];
  return `${parts.join('; ')}.`;
}

function number(value: number | undefined): string {
  return value === undefined ? '?' : value.toLocaleString('en-US');
}

/** As coracle-tap's other commands have it: CONTAINER, CONTAINER/EXEC, #PROCESS. */
function shortName(flow: SandboxFlow, { number: process }: ProcessFlow): string {
  const name = flow.names.process(process);
  if (name === undefined) return `#${process}`;
  return name.exec === '' ? name.container : `${name.container}/${name.exec}`;
}

function ownerText({ owner }: ProcessFlow, client: ClientFlow | undefined): string {
  if (owner === 0) return 'no client';
  return client === undefined || client.program === ''
    ? `client ${owner}`
    : `client ${owner}, ${client.program}`;
}

function exitText({ cause, waitStatus }: { cause: string; waitStatus: number }): string {
  const signal = waitStatus & 0x7f;
  if (cause === 'out_of_memory') return 'out of memory';
  if (cause === 'start_failed') return 'did not start';
  return signal === 0 ? `exit ${(waitStatus >> 8) & 0xff}` : `signal ${signal}`;
}

function levelOf(findings: readonly Finding[], level: Level): Level {
  if (findings.some((finding) => finding.level === 'problem')) return 'problem';
  return findings.length > 0 && level !== 'done' ? 'warning' : level;
}

function waitsOf(findings: readonly Finding[]): { waits?: string } {
  const [first] = findings;
  return first === undefined ? {} : { waits: first.title };
}

function sentences(findings: readonly Finding[]): string[] {
  return findings.map(({ title, text }) => `${capitalised(title)}. ${text}`);
}

function capitalised(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** In few characters. */
export function shortSpan(ns: number): string {
  if (ns < 1e6) return `${Math.round(ns / 1e3)} µs`;
  if (ns < 10e6) return `${(ns / 1e6).toFixed(1)} ms`;
  if (ns < 1e9) return `${Math.round(ns / 1e6)} ms`;
  if (ns < 10e9) return `${(ns / 1e9).toFixed(1)} s`;
  if (ns < 120e9) return `${Math.round(ns / 1e9)} s`;
  return ns < 7200e9 ? `${Math.round(ns / 60e9)} min` : `${Math.round(ns / 3600e9)} h`;
}
