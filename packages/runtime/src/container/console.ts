/** Terminals on the host side (runc's docs/terminals.md says who owns what in each mode). */
import { statSync } from 'node:fs';
import { isatty } from 'node:tty';
import { close, getWindowSize, openPty, sendDescriptorTo, type WindowSize } from '@coracle/sys';
import { CliError, messageOf } from '../cli/errors.ts';
import type { ProcessSpec } from '../spec/spec.ts';

const defaultSize: WindowSize = { columns: 80, rows: 24 };

/** How a process with or without a terminal meets our own stdio. */
export type ConsolePlan =
  | { readonly kind: 'pipes' }
  /** Our own terminal, or plain copying where we have none. */
  | { readonly kind: 'ours'; readonly terminalFd: number | undefined; readonly size: WindowSize | undefined }
  /** A new pty whose master the engine gets. */
  | { readonly kind: 'socket'; readonly path: string; readonly size: WindowSize };

/** @throws CliError with runc's wording for combinations that cannot work */
export function planConsole(
  process: ProcessSpec,
  { detach, consoleSocket }: { detach: boolean; consoleSocket: string | undefined },
): ConsolePlan {
  const terminal = process.terminal === true;
  if (consoleSocket !== undefined && !(detach && terminal)) {
    throw new CliError(
      'cannot use console socket if coracle will not detach or allocate tty: ' +
        (terminal ? 'give --detach' : 'set process.terminal') +
        ' or leave --console-socket out',
    );
  }
  if (!terminal) return { kind: 'pipes' };
  const { width = 0, height = 0 } = process.consoleSize ?? {};
  const wanted = width > 0 && height > 0 ? { columns: width, rows: height } : undefined;
  if (consoleSocket !== undefined) {
    checkSocket(consoleSocket);
    return { kind: 'socket', path: consoleSocket, size: wanted ?? defaultSize };
  }
  if (detach) {
    throw new CliError(
      'cannot allocate tty if coracle will detach without setting console socket: ' +
        'give --console-socket, or set process.terminal to false',
    );
  }
  const terminalFd = [0, 1, 2].find((fd) => isatty(fd));
  return {
    kind: 'ours',
    terminalFd,
    size: terminalFd === undefined ? wanted : (sizeOf(terminalFd) ?? wanted),
  };
}

/** The size, unless nobody has set one (0 by 0: a serial line, a fresh pty). */
function sizeOf(fd: number): WindowSize | undefined {
  const size = getWindowSize(fd);
  return size.columns > 0 && size.rows > 0 ? size : undefined;
}

function checkSocket(path: string): void {
  try {
    if (statSync(path).isSocket()) return;
  } catch (cause) {
    throw new CliError(`cannot use the console socket ${path}: ${messageOf(cause)}`, { cause });
  }
  throw new CliError(`cannot use the console socket ${path}: it is not a socket`);
}

/** Opens a pty and hands its master over. @returns the slave, for the shim; the caller closes it */
export function sendConsole(path: string, size: WindowSize): number {
  const pty = openPty(size);
  try {
    sendDescriptorTo(path, pty.master, Buffer.from(pty.slavePath));
    return pty.slave;
  } catch (cause) {
    close(pty.slave);
    throw new CliError(`cannot send the terminal over the console socket ${path}: ${messageOf(cause)}`, {
      cause,
    });
  } finally {
    close(pty.master);
  }
}
