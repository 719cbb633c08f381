/** The descriptors of a new process: what it gets, and what the agent keeps. */
import { closeSync, openSync } from 'node:fs';
import {
  close,
  dup,
  openSlaveOf,
  pipe2,
  setNonblocking,
  setPipeSize,
  setWindowSize,
  type WindowSize,
} from '@coracle/sys';

/** What the agent keeps, all nonblocking. */
export interface Ends {
  readonly stdin: number | undefined;
  readonly stdout: number;
  readonly stderr: number | undefined;
  readonly terminal: Terminal | undefined;
}

export interface Terminal {
  readonly master: number;
  /** Held open until the exit; undefined when it can't be opened again. */
  readonly slave: number | undefined;
}

export interface PipeStdio {
  /** For the child's 0, 1 and 2. */
  readonly child: Readonly<Record<number, number>>;
  readonly ends: Ends;
  /** The child has its copies. */
  closeChildEnds(): void;
  /** The child was never started. */
  closeAll(): void;
  /** The child has ended before it became a process of ours. */
  closeAgentEnds(): void;
}

/**
 * With the kernel's 64 KiB, agent and process take turns at every second frame, and under emulation each turn
 * costs as much as copying a frame. Where it is refused the pipe stays as it is.
 */
const PIPE_BYTES = 256 * 1024;

export function openPipes(options: { stdin: boolean }): PipeStdio {
  const opened: number[] = [];
  try {
    const stdin = options.stdin ? pipe2({ nonblockingWrite: true }) : undefined;
    if (stdin) opened.push(stdin.read, stdin.write);
    const stdout = pipe2({ nonblockingRead: true });
    opened.push(stdout.read, stdout.write);
    const stderr = pipe2({ nonblockingRead: true });
    opened.push(stderr.read, stderr.write);
    if (stdin) setPipeSize(stdin.write, PIPE_BYTES);
    setPipeSize(stdout.read, PIPE_BYTES);
    const nothing = stdin ? undefined : openSync('/dev/null', 'r');
    if (nothing !== undefined) opened.push(nothing);
    const child = { 0: (stdin?.read ?? nothing) as number, 1: stdout.write, 2: stderr.write };
    return {
      child,
      ends: { stdin: stdin?.write, stdout: stdout.read, stderr: stderr.read, terminal: undefined },
      closeChildEnds: () => Object.values(child).forEach(close),
      closeAll: () => opened.forEach(close),
      closeAgentEnds: () => {
        if (stdin) close(stdin.write);
        close(stdout.read);
        close(stderr.read);
      },
    };
  } catch (error) {
    opened.forEach(close);
    throw error;
  }
}

/** Takes a pty master over. The size is set here: before the program of a container runs, after that of an exec. */
export function openTerminal(master: number, size: WindowSize | undefined): Ends {
  setNonblocking(master, true);
  if (size) setWindowSize(master, size);
  let slave: number | undefined;
  try {
    slave = openSlaveOf(master);
  } catch {
    // The process has ended already and its terminal was hung up: the master gives what is left, then EIO.
  }
  // A watch of its own for each direction: a descriptor can have one.
  return { stdin: dup(master), stdout: master, stderr: undefined, terminal: { master, slave } };
}

/** For crun's own 0, 1 and 2 when the process has a terminal. */
export function openNull(): { child: Readonly<Record<number, number>>; close(): void } {
  const fd = openSync('/dev/null', 'r+');
  return { child: { 0: fd, 1: fd, 2: fd }, close: () => closeSync(fd) };
}
