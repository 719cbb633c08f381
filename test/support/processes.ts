/** Processes of the machine, found by what only one test has: a folder, an argument. */
import { readdirSync, readFileSync } from 'node:fs';

export interface FoundProcess {
  readonly pid: number;
  /** Its command line, words parted by NUL. */
  readonly commandLine: string;
}

/** All processes but this one and those that have ended. */
export function allProcesses(): FoundProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const commandLine = readProc(Number(pid), 'cmdline');
      return commandLine === '' ? [] : [{ pid: Number(pid), commandLine }];
    });
}

/** A file of a process's /proc folder; empty when the process has gone. */
export function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Sends a signal; that the process was quicker is no error. */
export function killPid(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
