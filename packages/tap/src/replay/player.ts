/** Does what a plan's clients did, each action at its time, and not before what it depends on has happened again. */
import { closeSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  CreateContainerRequest,
  CreateContainerResponse,
  decodeAttach,
  decodeWindow,
  ExecProcessRequest,
  ExecProcessResponse,
  encodeAttach,
  encodeFrame,
  encodeWindow,
  type FrameFields,
  FrameType,
  type ProcessHandle,
  Request,
  type Response,
  TOKEN_BYTES,
} from '@coracle/wire';
import { isOfProcess, isOfStream, processNumber } from '../model/names.ts';
import { type Action, type Plan, processKey, spoolPath } from './plan.ts';
import { ReplayClient } from './replay-client.ts';
import { standInConfig, standInProcess } from './stand-in.ts';

export interface Stage {
  readonly socketPath: string;
  readonly sandbox: string;
  /** Of spools and scripts; the containers' root is what holds it. */
  readonly folder: string;
  readonly rootPath: string;
  readonly speed: number;
  killProxy(): Promise<void>;
}

export interface Played {
  /** Actions that were done. */
  done: number;
  /** Why others were not, and how often. */
  readonly skipped: Map<string, number>;
  clients: number;
}

/**
 * What an action depends on has this long to happen again; then it is left out, or done as far as it can be. When it did
 * not happen, the next one has less: what stands still this time would take long otherwise.
 */
const PATIENCE_MS = 5000;
const LEAST_PATIENCE_MS = 50;

/** Asked for by the replay itself, or not to be repeated on a machine that is not the guest. */
const NOT_PLAYED: ReadonlySet<string> = new Set([
  'CreateSandbox',
  'DestroySandbox',
  'UpdateContainer',
  'UpdateNetwork',
  'SetClock',
]);

type FrameAction = Extract<Action, { kind: 'frame' }>;

export class Player {
  readonly #plan: Plan;
  readonly #stage: Stage;
  readonly #clients = new Map<number, ReplayClient>();
  /** By `processKey`: what this time's answer said. */
  readonly #handles = new Map<string, ProcessHandle>();
  /** Requests that make a process, by connection and id. */
  readonly #making = new Map<string, string>();
  /** By stream: how far bytes have come, whoever was attached. */
  readonly #received = new Map<number, number>();
  #moved = Promise.withResolvers<void>();
  #patienceMs = PATIENCE_MS;
  readonly played: Played = { done: 0, skipped: new Map(), clients: 0 };

  constructor(plan: Plan, stage: Stage) {
    this.#plan = plan;
    this.#stage = stage;
  }

  async play(signal: AbortSignal): Promise<void> {
    const startMs = performance.now();
    const until = async (timeNs: number): Promise<void> => {
      const ms = timeNs / 1e6 / this.#stage.speed - (performance.now() - startMs);
      if (ms > 1) await pause(ms, signal);
    };
    for (const action of this.#plan.actions) {
      signal.throwIfAborted();
      await until(action.timeNs);
      const problem = await this.#do(action);
      if (problem === undefined) this.played.done++;
      else this.played.skipped.set(problem, (this.played.skipped.get(problem) ?? 0) + 1);
    }
    await until(this.#plan.diagnosis.reader.endNs);
    // A machine that is busy is slower than the clock.
    await this.#until(() => this.#isThrough());
  }

  /** What came for clients has come again, as far as they still can be told. */
  #isThrough(): boolean {
    for (const [key, { flow }] of this.#plan.processes) {
      const handle = this.#handles.get(key);
      if (handle === undefined) continue;
      const client = this.#clients.get(flow.owner);
      if (client === undefined || client.closed) continue;
      if (flow.exit !== undefined && !client.exited.has(handle.process)) return false;
      for (const { id, highest } of flow.outputs)
        if ((this.#received.get(4 * handle.process + (id % 4)) ?? 0) < highest) return false;
    }
    return [...this.#clients.values()].every((client) => client.closed || client.unanswered === 0);
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  /** @returns why it was not done */
  async #do(action: Action): Promise<string | undefined> {
    if (action.kind === 'proxy ends') {
      await this.#stage.killProxy();
      for (const client of this.#clients.values()) client.close();
      this.#clients.clear();
      return undefined;
    }
    if (action.kind === 'bind') return await this.#bind(action.connection);
    const client = this.#clients.get(action.connection);
    if (client === undefined) return 'of a client that was connected before the capture began';
    if (action.kind !== 'close' && client.closed)
      return 'of a client whose connection has ended earlier this time';
    if (action.kind === 'request') return this.#request(client, action);
    if (action.kind === 'frame') return await this.#frame(client, action);
    client.close();
    this.#clients.delete(action.connection);
    return undefined;
  }

  async #bind(connection: number): Promise<string | undefined> {
    const { socketPath, sandbox } = this.#stage;
    for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; ) {
      const client: ReplayClient = new ReplayClient(socketPath, sandbox, this.#received, {
        moved: () => {
          this.#moved.resolve();
          this.#moved = Promise.withResolvers();
        },
        answered: (id, response) => this.#answered(`${connection} ${id}`, response),
      });
      // One that has just been killed does not listen yet again.
      if ((await this.#until(() => client.bound || client.closed)) && client.bound) {
        this.#clients.set(connection, client);
        this.played.clients++;
        return undefined;
      }
      client.close();
      await pause(10);
    }
    return 'clients that the proxy did not take';
  }

  #request(client: ReplayClient, action: Extract<Action, { kind: 'request' }>): string | undefined {
    const { method, idempotencyKey, timeoutMs } = action.message;
    if (NOT_PLAYED.has(method)) return `${method}, which replay does itself or leaves alone`;
    const payload = this.#payload(action);
    if (typeof payload === 'string') return payload;
    client.request(action.id, Request.fromPartial({ method, idempotencyKey, timeoutMs, payload }));
    return undefined;
  }

  /** Of the request: as it was, but for what runs. */
  #payload({ message, connection, id, timeNs }: Extract<Action, { kind: 'request' }>): Uint8Array | string {
    const { method, body } = message;
    if (method !== 'CreateContainer' && method !== 'ExecProcess') return message.payload;
    if (body === undefined) return `${method} that can't be read`;
    const create = method === 'CreateContainer';
    const key = processKey(String(body.containerId), create ? '' : String(body.execId));
    const plan = this.#plan.processes.get(key);
    if (plan === undefined) return `${method} that made no process`;
    this.#making.set(`${connection} ${id}`, key);
    const { folder, speed, rootPath } = this.#stage;
    const startNs = create ? this.#startOf(plan.container, timeNs) : timeNs;
    const process = standInProcess(plan, folder, speed, startNs);
    const bytes = (value: object): Buffer => Buffer.from(JSON.stringify(value));
    if (!create)
      return ExecProcessRequest.encode(
        ExecProcessRequest.fromPartial({ ...body, process: bytes(process) }),
      ).finish();
    const config = bytes(standInConfig(process));
    return CreateContainerRequest.encode(
      CreateContainerRequest.fromPartial({
        ...body,
        config,
        rootfsPath: rootPath,
        rootfsShare: 'host',
        bindSources: [],
      }),
    ).finish();
  }

  /** A container's first process begins when it is started. */
  #startOf(container: string, otherwiseNs: number): number {
    const start = this.#plan.actions.find(
      (action) =>
        action.kind === 'request' &&
        action.message.method === 'StartContainer' &&
        action.message.body?.containerId === container,
    );
    return start?.timeNs ?? otherwiseNs;
  }

  #answered(key: string, { payload, error }: Response): void {
    const process = this.#making.get(key);
    if (process === undefined || payload === undefined || error !== undefined) return;
    // Both say it in the same field.
    const handle = (process.endsWith('\0') ? CreateContainerResponse : ExecProcessResponse).decode(
      payload,
    ).process;
    if (handle !== undefined) this.#handles.set(process, handle);
  }

  async #frame(client: ReplayClient, action: FrameAction): Promise<string | undefined> {
    if (!isOfStream(action.type) && !isOfProcess(action.type)) {
      client.send(whole(action, action.id, action.payload));
      return undefined;
    }
    const number = processNumber(action.id);
    const name = this.#plan.sandbox.names.process(number);
    if (name === undefined) return 'of processes that were made before the capture began';
    const key = processKey(name.container, name.exec);
    await this.#until(() => this.#handles.has(key) || client.closed);
    const handle = this.#handles.get(key);
    if (handle === undefined) return 'of processes that could not be made';
    const id = 4 * handle.process + (action.id % 4);
    if (action.type === FrameType.ATTACH) {
      this.#attach(client, action, id, handle);
      return undefined;
    }
    await this.#until(() => client.attached.has(action.generation) || client.closed);
    if (action.type === FrameType.WINDOW) return await this.#window(client, action, id);
    if (action.type === FrameType.DATA) return await this.#data(client, action, id, number);
    client.send(whole(action, id, action.payload));
    return undefined;
  }

  /** What has not come this time is not said to have come: it is sent again, and that is no other session. */
  #attach(client: ReplayClient, action: FrameAction, id: number, handle: ProcessHandle): void {
    const { stdout, stderr } = decodeAttach(action.payload);
    const known = ({ delivered, limit }: { delivered: number; limit: number }, kind: number) => ({
      limit,
      delivered: Math.min(delivered, this.#received.get(id + kind) ?? 0),
    });
    const token = action.refused ? Buffer.alloc(TOKEN_BYTES) : Buffer.from(handle.token);
    const payload = encodeAttach({ token, stdout: known(stdout, 2), stderr: known(stderr, 3) });
    client.attach(whole(action, id, payload));
  }

  async #window(client: ReplayClient, action: FrameAction, id: number): Promise<undefined> {
    const delivered = await this.#reached(() => this.#received.get(id) ?? 0, action.offset);
    client.send(whole({ ...action, offset: delivered }, id, encodeWindow(decodeWindow(action.payload))));
  }

  async #data(
    client: ReplayClient,
    action: FrameAction,
    id: number,
    number: number,
  ): Promise<string | undefined> {
    const { before } = action;
    // Who types has seen what was printed before.
    await this.#until(() =>
      before.every((bytes, kind) => (this.#received.get(id - (id % 4) + kind) ?? 0) >= bytes),
    );
    const end = await this.#reached(() => this.#credit(client, id), action.offset + action.length);
    const length = id % 4 === 0 && end < action.offset + action.length ? 0 : end - action.offset;
    if (length <= 0) return 'of input that the guest does not take this time';
    const payload = id % 4 === 0 ? action.payload : this.#input(number, { ...action, length });
    client.send(whole(action, id, payload));
    return undefined;
  }

  #credit(client: ReplayClient, id: number): number {
    return client.limits.get(id) ?? 0;
  }

  /** The bytes that were sent; where the capture has none, zeros. */
  #input(number: number, { offset, length }: FrameAction): Buffer {
    const bytes = Buffer.alloc(length);
    const descriptor = openSync(spoolPath(this.#stage.folder, number, 'stdin'), 'r');
    try {
      readSync(descriptor, bytes, 0, length, offset);
    } finally {
      closeSync(descriptor);
    }
    return bytes;
  }

  /** Waits until it is as far as it was, and takes what there is when that takes too long. */
  async #reached(now: () => number, wanted: number): Promise<number> {
    await this.#until(() => now() >= wanted);
    return Math.min(now(), wanted);
  }

  async #until(condition: () => boolean): Promise<boolean> {
    const deadline = performance.now() + this.#patienceMs;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0) {
        this.#patienceMs = Math.max(LEAST_PATIENCE_MS, this.#patienceMs / 2);
        return false;
      }
      await Promise.race([this.#moved.promise, pause(Math.min(left, 100))]);
    }
    this.#patienceMs = PATIENCE_MS;
    return true;
  }
}

function whole({ type, generation, offset }: FrameAction, id: number, payload: Uint8Array): Buffer {
  return encodeFrame({ type: type as FrameFields['type'], id, generation, offset, payload });
}

async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal === undefined ? {} : { signal });
}
