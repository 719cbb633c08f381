/**
 * What a recorded session's clients did, in the order in which they did it, and what its processes did: all that is
 * needed to do it again. Bytes of streams are put into files, so that a long recording needs little memory.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CaptureEvent, Direction, FrameType } from '@coracle/wire';
import { type Diagnosis, diagnose } from '../diagnose/diagnose.ts';
import { TapError } from '../errors.ts';
import type { RequestMessage } from '../model/messages.ts';
import { processNumber } from '../model/names.ts';
import type { ProcessFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import { StreamBytes } from '../model/stream-bytes.ts';
import type { RecordView } from '../read/record-view.ts';

export type Action = { readonly timeNs: number; readonly connection: number } & (
  | { readonly kind: 'proxy ends' | 'bind' | 'close' }
  | { readonly kind: 'request'; readonly id: number; readonly message: RequestMessage }
  | {
      readonly kind: 'frame';
      readonly type: number;
      readonly id: number;
      readonly generation: number;
      readonly offset: number;
      readonly length: number;
      /** What there is of it; of DATA of stdin it is in the process's file of input. */
      readonly payload: Buffer;
      /** Of DATA: how far each stream of the process had come before it, outputs only. */
      readonly before: readonly number[];
      /** Of an ATTACH: its token was the wrong one. */
      refused: boolean;
    }
);

export interface Piece {
  readonly timeNs: number;
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: number;
}

/** One process as it was: what it printed and when, how it ended. */
export interface ProcessPlan {
  readonly flow: ProcessFlow;
  readonly container: string;
  readonly exec: string;
  readonly pieces: Piece[];
}

export interface Plan {
  readonly diagnosis: Diagnosis;
  readonly sandbox: SandboxFlow;
  readonly actions: readonly Action[];
  /** By `processKey`. */
  readonly processes: ReadonlyMap<string, ProcessPlan>;
  /** Bytes that crossed and are not in the capture. */
  readonly leftOut: number;
}

/** A frame of a client each; more is no session to be played again. */
const MOST_ACTIONS = 1_000_000;

export function processKey(container: string, exec: string): string {
  return `${container}\0${exec}`;
}

/** Bytes of a stream of process `number`, from offset 0 on; what is not in the capture is zeros. */
export function spoolPath(folder: string, number: number, stream: string): string {
  return join(folder, `${number}.${stream}`);
}

/**
 * @param sandbox which one, where the capture has several
 * @throws TapError as readCapture; usage when it is not said which sandbox; not-found when there is nothing to be played
 */
export async function makePlan(
  path: string,
  folder: string,
  { sandbox, signal }: { readonly sandbox: string | undefined; readonly signal: AbortSignal },
): Promise<Plan> {
  const reading = new Reading(folder);
  const diagnosis = await diagnose(path, {
    signal,
    events: {
      record: (record, flow, message) => {
        if (sandbox === undefined || record.sandbox === sandbox) reading.take(record, flow, message);
      },
    },
  });
  return reading.plan(path, diagnosis);
}

class Reading {
  readonly #folder: string;
  readonly #actions: Action[] = [];
  readonly #spools = new Map<string, Spool>();
  readonly #pieces = new Map<number, Piece[]>();
  #flow: SandboxFlow | undefined;
  #section = 0;
  #leftOut = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  take(record: RecordView, flow: SandboxFlow, message: { readonly kind: string } | undefined): void {
    this.#flow ??= flow;
    if (this.#flow !== flow)
      throw new TapError(
        'usage',
        `the capture has the sandboxes ${this.#flow.sandbox} and ${flow.sandbox}: say which with --sandbox`,
      );
    const { timeNs, connection } = record;
    if (this.#section !== 0 && record.section !== this.#section)
      this.#add({ kind: 'proxy ends', timeNs, connection: 0 });
    this.#section = record.section;
    if (record.isEvent) this.#event(record);
    else if (record.direction === Direction.toClient) this.#fromGuest(record);
    else if (record.own || record.type === FrameType.BIND) return;
    else if (record.type === FrameType.REQUEST) {
      if (message?.kind === 'request')
        this.#add({ kind: 'request', timeNs, connection, id: record.id, message: message as RequestMessage });
    } else this.#frame(record, flow);
  }

  plan(path: string, diagnosis: Diagnosis): Plan {
    const flow = this.#flow;
    if (flow === undefined || this.#actions.length === 0)
      throw new TapError(
        'not-found',
        `no client has done anything in ${path}: there is nothing to be played`,
      );
    const processes = new Map<string, ProcessPlan>();
    for (const process of flow.processes.values()) {
      const name = flow.names.process(process.number);
      if (name === undefined || process.made === undefined) continue;
      const { container, exec } = name;
      processes.set(processKey(container, exec), {
        flow: process,
        container,
        exec,
        pieces: this.#pieces.get(process.number) ?? [],
      });
      // What the process still had to say when it ended, or when nobody took it any more.
      for (const stream of process.outputs)
        this.#spool(process.number, stream.kind).reach(Math.max(stream.final ?? 0, stream.highest));
    }
    return { diagnosis, sandbox: flow, actions: this.#actions, processes, leftOut: this.#leftOut };
  }

  #add(action: Action): void {
    if (this.#actions.length >= MOST_ACTIONS)
      throw new TapError('usage', `clients sent more than ${MOST_ACTIONS} frames: record a shorter session`);
    this.#actions.push(action);
  }

  #event({ event, connection, timeNs }: RecordView): void {
    if (connection === 0) return;
    // One that was there already binds as well.
    if (event === CaptureEvent.client_bound) this.#add({ kind: 'bind', timeNs, connection });
    else if (event === CaptureEvent.client_closed) this.#add({ kind: 'close', timeNs, connection });
  }

  #frame(record: RecordView, flow: SandboxFlow): void {
    const { timeNs, connection, type, id, generation, offset, length } = record;
    const input = type === FrameType.DATA && id % 4 === 1;
    if (input) this.#bytes(record);
    const payload = input ? Buffer.alloc(0) : Buffer.from(record.payload);
    const before =
      type === FrameType.DATA
        ? [0, 0, ...flow.process(processNumber(id)).outputs.map(({ highest }) => highest)]
        : [];
    this.#add({
      kind: 'frame',
      timeNs,
      connection,
      type,
      id,
      generation,
      offset,
      length,
      payload,
      before,
      refused: false,
    });
  }

  #fromGuest(record: RecordView): void {
    if (record.type === FrameType.DATA && record.id % 4 > 1) this.#bytes(record);
    if (record.type !== FrameType.REFUSED) return;
    const attach = this.#actions.findLast(
      (action) =>
        action.kind === 'frame' &&
        action.type === FrameType.ATTACH &&
        action.id === record.id &&
        action.generation === record.generation,
    );
    if (attach?.kind === 'frame') attach.refused = true;
  }

  #bytes(record: RecordView): void {
    const number = processNumber(record.id);
    const kind = (['stdin', 'stdout', 'stderr'] as const)[(record.id % 4) - 1] as 'stdin';
    for (const piece of this.#spool(number, kind).take(record)) {
      if (piece.kind === 'end') continue;
      const bytes = piece.kind === 'bytes' ? piece.bytes.length : piece.length;
      if (piece.kind !== 'bytes') this.#leftOut += bytes;
      if (kind === 'stdin') continue;
      const pieces = this.#pieces.get(number) ?? [];
      this.#pieces.set(number, pieces);
      pieces.push({ timeNs: piece.timeNs, stream: kind, bytes });
    }
  }

  #spool(number: number, kind: string): Spool {
    const path = spoolPath(this.#folder, number, kind);
    let spool = this.#spools.get(path);
    if (spool === undefined) {
      spool = new Spool(path);
      this.#spools.set(path, spool);
    }
    return spool;
  }
}

/** Open only while it is written: a session may have thousands of streams. */
class Spool {
  readonly #path: string;
  readonly #bytes = new StreamBytes();
  #length = 0;

  constructor(path: string) {
    this.#path = path;
    closeSync(openSync(path, 'w', 0o600));
  }

  take(record: RecordView) {
    const pieces = this.#bytes.take(record);
    for (const piece of pieces) {
      if (piece.kind === 'bytes') this.#write(piece.bytes, piece.offset);
      if (piece.kind !== 'end')
        this.reach(piece.offset + (piece.kind === 'bytes' ? piece.bytes.length : piece.length));
    }
    return pieces;
  }

  /** Makes it so long; a hole takes no room on the disk. */
  reach(length: number): void {
    if (length <= this.#length) return;
    this.#length = length;
    this.#with((descriptor) => ftruncateSync(descriptor, length));
  }

  #write(bytes: Buffer, offset: number): void {
    this.#length = Math.max(this.#length, offset + bytes.length);
    this.#with((descriptor) => void writeSync(descriptor, bytes, 0, bytes.length, offset));
  }

  #with(use: (descriptor: number) => void): void {
    const descriptor = openSync(this.#path, 'r+');
    try {
      use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}
