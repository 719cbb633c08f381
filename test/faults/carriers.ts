/** The ways by which a process's streams reach the host: the shim's pipes, the shim's terminal, the library. */
import type { Readable, Writable } from 'node:stream';
import type { Container } from '@coracle/client';
import { close, openPty, PtyStream, spawn, waitForExit, waitPid } from '@coracle/sys';
import { coracleProgram, guestEnv, type Place, Running } from '../contract/place.ts';

export type CarrierKind = 'shim, pipes' | 'shim, terminal' | 'library, pipes' | 'library, terminal';

export interface Carrier {
  readonly kind: CarrierKind;
  readonly output: Readable;
  readonly input: Writable;
  /** The file that holds the shim's pid once there is one. */
  readonly pidFile?: string;
  /** The exit code as a shell says it. */
  ended(): Promise<number>;
  /** What was said about it, for a report. */
  said(): string;
  close(): void;
}

export interface CarrierPlace {
  readonly place: Place;
  readonly containerId: string;
  readonly container: Container;
}

const deadlineMs = 240_000;

export async function makeCarrier(
  kind: CarrierKind,
  index: number,
  args: readonly string[],
  at: CarrierPlace,
): Promise<Carrier> {
  switch (kind) {
    case 'shim, pipes':
      return shimPipes(index, args, at);
    case 'shim, terminal':
      return shimTerminal(index, args, at);
    default:
      return await library(kind, args, at);
  }
}

const pidFileOf = (place: Place, index: number): string => `${place.folder}/shim-${index}.pid`;

function shimPipes(index: number, args: readonly string[], { place, containerId }: CarrierPlace): Carrier {
  const pidFile = pidFileOf(place, index);
  const command = place.arguments(['exec', '--pid-file', pidFile, containerId, ...args]);
  const running = new Running(coracleProgram, command, { env: place.env, stdin: 'open' });
  return {
    kind: 'shim, pipes',
    output: running.child.stdout!,
    input: running.child.stdin!,
    pidFile,
    ended: () => running.ended(deadlineMs),
    said: () => running.stderr,
    close: () => running.child.stdin!.destroy(),
  };
}

function shimTerminal(index: number, args: readonly string[], { place, containerId }: CarrierPlace): Carrier {
  const pidFile = pidFileOf(place, index);
  const { master, slave, slavePath } = openPty({ columns: 80, rows: 24 });
  const stream = new PtyStream(master);
  const command = place.arguments(['exec', '--tty', '--pid-file', pidFile, containerId, ...args]);
  const pid = spawn({
    file: coracleProgram,
    args: [coracleProgram, ...command],
    env: place.env,
    descriptors: {},
    terminal: slavePath,
    newSession: true,
  });
  return {
    kind: 'shim, terminal',
    output: stream,
    input: stream,
    pidFile,
    ended: async () => {
      await waitForExit(pid, AbortSignal.timeout(deadlineMs));
      const status = waitPid(pid)!;
      return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
    },
    said: () => '',
    close: () => {
      stream.destroy();
      close(slave);
    },
  };
}

async function library(
  kind: 'library, pipes' | 'library, terminal',
  args: readonly string[],
  { container }: CarrierPlace,
): Promise<Carrier> {
  const process = await container.exec({
    args,
    env: guestEnv,
    stdin: true,
    terminal: kind === 'library, terminal' ? { columns: 80, rows: 24 } : false,
  });
  let said = '';
  process.stderr.on('data', (bytes: Buffer) => {
    said += bytes.toString('latin1');
  });
  return {
    kind,
    output: process.stdout,
    input: process.stdin,
    ended: async () => (await process.wait({ signal: AbortSignal.timeout(deadlineMs) })).code,
    said: () => said,
    close: () => process.stdout.destroy(),
  };
}
