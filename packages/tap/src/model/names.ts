/** Which container and exec a process number stands for, from the requests that made it; one for each sandbox. */
import { FrameType } from '@coracle/wire';
import type { RecordView } from '../read/record-view.ts';
import { type ControlMessage, Messages } from './messages.ts';

export interface ProcessName {
  readonly process: number;
  readonly container: string;
  /** Empty: the container's init process. */
  readonly exec: string;
  readonly terminal: boolean;
}

export interface RequestTarget {
  readonly container: string;
  readonly exec: string;
}

/** Oldest names are forgotten: a capture of days has millions of execs. */
const MAX_NAMES = 100_000;
const MAX_TARGETS = 4096;

export class Names {
  readonly #messages = new Messages();
  readonly #targets = new Map<string, RequestTarget>();
  readonly #processes = new Map<number, ProcessName>();

  /** @returns the message that the frame made known, if it is one of a REQUEST or RESPONSE */
  take(record: RecordView): ControlMessage | undefined {
    if (record.type !== FrameType.REQUEST && record.type !== FrameType.RESPONSE) return undefined;
    const message = this.#messages.take(record);
    if (message === undefined) return undefined;
    const key = `${record.connection} ${record.id}`;
    if (message.kind === 'request') {
      const { body } = message;
      if (this.#targets.size >= MAX_TARGETS)
        this.#targets.delete(this.#targets.keys().next().value as string);
      this.#targets.set(key, { container: textOf(body?.containerId), exec: textOf(body?.execId) });
      return message;
    }
    const target = this.#targets.get(key);
    const handle = message.body?.process as { process: number; terminal: boolean } | undefined;
    if (target !== undefined && handle !== undefined && typeof handle === 'object')
      this.#name({ process: handle.process, ...target, terminal: handle.terminal });
    return message;
  }

  /** Of the request with this id; it stays for the answer. */
  target(record: RecordView): RequestTarget | undefined {
    return this.#targets.get(`${record.connection} ${record.id}`);
  }

  process(number: number): ProcessName | undefined {
    return this.#processes.get(number);
  }

  /** A connection has ended: its ids mean nothing any more. */
  forget(connection: number): void {
    this.#messages.forget(connection);
    for (const key of this.#targets.keys()) if (key.startsWith(`${connection} `)) this.#targets.delete(key);
  }

  all(): Iterable<ProcessName> {
    return this.#processes.values();
  }

  #name(name: ProcessName): void {
    if (this.#processes.size >= MAX_NAMES)
      this.#processes.delete(this.#processes.keys().next().value as number);
    this.#processes.set(name.process, name);
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export const streamKindNames = ['control', 'stdin', 'stdout', 'stderr'] as const;
export type StreamKindName = (typeof streamKindNames)[number];

/** Frames whose id is a stream's, or a process's. */
const streamTypes: ReadonlySet<number> = new Set([
  FrameType.DATA,
  FrameType.EOF,
  FrameType.WINDOW,
  FrameType.STOP,
]);
const processTypes: ReadonlySet<number> = new Set([
  FrameType.ATTACH,
  FrameType.ATTACHED,
  FrameType.REFUSED,
  FrameType.EXIT,
  FrameType.DETACHED,
]);

export function isOfStream(type: number): boolean {
  return streamTypes.has(type);
}
export function isOfProcess(type: number): boolean {
  return processTypes.has(type);
}
export function processNumber(id: number): number {
  return Math.floor(id / 4);
}
export function streamKind(id: number): StreamKindName {
  return streamKindNames[id % 4] as StreamKindName;
}

/** "web", "exec e1 of web", "process 3". */
export function describeProcess(names: Names, number: number): string {
  const name = names.process(number);
  if (name === undefined) return `process ${number}`;
  return name.exec === '' ? name.container : `exec ${name.exec} of ${name.container}`;
}

/** "stdout of web". */
export function describeStreamId(names: Names, id: number): string {
  return `${streamKind(id)} of ${describeProcess(names, processNumber(id))}`;
}
