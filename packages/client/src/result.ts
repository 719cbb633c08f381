/** How a process ended: one shape for every ending. */
import type { ExitRecord, RpcError } from '@coracle/wire';
import { signalName } from './signals.ts';

export interface ProcessResult {
  /**
   * `exited` by itself, `signalled` to death, killed for lack of memory, never started
   * (`start_failed`), or gone with its VM (`vm_lost`), in which case nobody knows how it ended.
   */
  readonly cause: 'exited' | 'signalled' | 'out_of_memory' | 'start_failed' | 'vm_lost';
  /** 0 to 255, or null when it did not exit by itself. */
  readonly exitCode: number | null;
  /** The signal that ended it, such as `SIGKILL`, or null. */
  readonly signal: string | null;
  /** As a shell says it: the exit code, 128 + n for signal n, 255 when the VM was lost. */
  readonly code: number;
  /** What failed, for a person; may be empty. */
  readonly message: string;
}

const VM_LOST_CODE = 255;

/** From the cause and the wait status (wait(2)) that the agent recorded. */
export function resultOfExit(exit: Pick<ExitRecord, 'cause' | 'waitStatus' | 'message'>): ProcessResult {
  const { cause, waitStatus, message } = exit;
  const signal = waitStatus & 0x7f;
  if (signal !== 0) {
    return { cause, exitCode: null, signal: signalName(signal), code: 128 + signal, message };
  }
  const exitCode = (waitStatus >>> 8) & 0xff;
  return { cause, exitCode, signal: null, code: exitCode, message };
}

export function resultOfLostVm(reason: RpcError): ProcessResult {
  return { cause: 'vm_lost', exitCode: null, signal: null, code: VM_LOST_CODE, message: reason.reason };
}
