/**
 * QEMU Machine Protocol (QEMU docs/interop/qmp-spec.rst): JSON objects, one a line, over a unix socket.
 * The server greets, the client says `qmp_capabilities`, then commands carry an id that comes back in
 * the answer; events come in between. QEMU serves one client at a time on a socket: a second one
 * connects, but is greeted only when the first has left. So connections here are short.
 */
import { EventEmitter, once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { descriptorOf, sendDescriptor } from '@coracle/sys';
import { QmpError } from './errors.ts';

export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

export interface QmpConnectOptions {
  /** For the connection and the greeting together. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export type QmpStatus =
  | 'running'
  | 'paused'
  | 'shutdown'
  | 'guest-panicked'
  | 'internal-error'
  | (string & {});

/** Ours is a trusted QEMU, but a broken one must not make us grow without bound. */
const maxLineBytes = 4 << 20;
const defaultTimeoutMs = 10_000;

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: QmpError) => void;
}

/** Events: `event` with a QmpEvent, `close` once when the connection has ended. */
export class Qmp extends EventEmitter<{ event: [QmpEvent]; close: []; greeting: [] }> {
  readonly path: string;
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #buffered = '';
  #failure: QmpError | undefined;

  /** Not for use from outside: `Qmp.connect` also negotiates. */
  private constructor(path: string, socket: Socket) {
    super();
    this.path = path;
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', (cause) => this.#fail(new QmpError(`QMP ${path}: ${cause.message}`, { cause })));
    socket.on('close', () => {
      this.#fail(new QmpError(`QMP ${path}: QEMU closed the connection`));
      this.emit('close');
    });
  }

  /** @throws QmpError when nobody listens, nobody greets in time, or negotiation fails. */
  static async connect(path: string, options: QmpConnectOptions = {}): Promise<Qmp> {
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const qmp = new Qmp(path, createConnection({ path }));
    const timer = setTimeout(() => {
      qmp.#fail(
        new QmpError(`QMP ${path}: no greeting within ${timeoutMs} ms`, {
          remedy: 'QEMU is not answering, or another program holds its monitor.',
        }),
      );
    }, timeoutMs);
    const onAbort = () => qmp.#fail(new QmpError(`QMP ${path}: aborted`, { cause: options.signal?.reason }));
    options.signal?.addEventListener('abort', onAbort);
    try {
      if (qmp.#failure === undefined) await Promise.race([once(qmp, 'greeting'), once(qmp, 'close')]);
      await qmp.execute('qmp_capabilities');
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  /** The value of the command's `return`. @throws QmpError with QEMU's `errorClass`. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return this.#ask(command, args, (line) => void this.#socket.write(line));
  }

  /**
   * Gives QEMU a copy of a descriptor under a name, for a command that takes one by its name (`getfd`). No other command may be
   * under way.
   */
  async giveDescriptor(name: string, fd: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#pending.size > 0 || this.#socket.writableLength > 0)
      throw new QmpError(`QMP ${this.path}: a descriptor cannot be sent beside another command`);
    await this.#ask('getfd', { fdname: name }, (line) =>
      sendDescriptor(descriptorOf(this.#socket), fd, Buffer.from(line)),
    );
  }

  #ask(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    send: (line: string) => void,
  ): Promise<unknown> {
    const id = this.#nextId++;
    const message = args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
    return new Promise((resolve, reject) => {
      send(`${JSON.stringify(message)}\n`);
      this.#pending.set(id, { command, resolve, reject });
    });
  }

  async queryStatus(): Promise<QmpStatus> {
    return ((await this.execute('query-status')) as { status: QmpStatus }).status;
  }

  stop(): Promise<unknown> {
    return this.execute('stop');
  }

  cont(): Promise<unknown> {
    return this.execute('cont');
  }

  /** Presses the ACPI power button; a guest that does not listen for it goes on. */
  systemPowerdown(): Promise<unknown> {
    return this.execute('system_powerdown');
  }

  /** Ends QEMU. The answer may be lost with the connection: both mean that it went through. */
  async quit(): Promise<void> {
    await this.execute('quit').catch((error: QmpError) => {
      if (error.errorClass !== undefined) throw error;
    });
  }

  close(): void {
    this.#fail(new QmpError(`QMP ${this.path}: closed`));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #receive(text: string): void {
    this.#buffered += text;
    // Most chunks hold whole lines; a piece without an end is kept and not looked at again before it grows.
    if (!text.includes('\n')) {
      if (this.#buffered.length > maxLineBytes) {
        this.#fail(new QmpError(`QMP ${this.path}: a message of more than ${maxLineBytes} bytes`));
      }
      return;
    }
    const lines = this.#buffered.split('\n');
    this.#buffered = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#dispatch(line);
  }

  #dispatch(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = JSON.parse(line) as Record<string, unknown>;
    } catch (cause) {
      this.#fail(new QmpError(`QMP ${this.path}: not JSON: ${line.slice(0, 100)}`, { cause }));
      return;
    }
    if ('QMP' in message) this.emit('greeting');
    else if ('event' in message) this.emit('event', message as unknown as QmpEvent);
    else if ('return' in message) this.#settle(message.id)?.resolve(message.return);
    else if ('error' in message) {
      const { class: errorClass, desc } = message.error as { class: string; desc: string };
      const pending = this.#settle(message.id);
      const command = pending?.command;
      const error = new QmpError(`QMP command ${command ?? '?'} on ${this.path}: ${desc}`, {
        command,
        errorClass,
      });
      // An error without our id answers no command of ours: our own line was not understood.
      if (pending === undefined) this.#fail(error);
      else pending.reject(error);
    }
  }

  #settle(id: unknown): Pending | undefined {
    const pending = this.#pending.get(id as number);
    this.#pending.delete(id as number);
    return pending;
  }

  #fail(error: QmpError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const { command, reject } of this.#pending.values()) {
      reject(new QmpError(`${error.message} (while waiting for ${command})`, { command, cause: error }));
    }
    this.#pending.clear();
    this.#socket.destroy();
  }
}
