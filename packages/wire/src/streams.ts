/** Which streams a process has: stream id = 4 times the process number plus the kind (docs/protocol.md, section 3). */
import { violation } from './errors.ts';
import { MAX_PROCESS_NUMBER } from './limits.ts';

export const StreamKind = { control: 0, stdin: 1, stdout: 2, stderr: 3 } as const;
export type StreamKind = (typeof StreamKind)[keyof typeof StreamKind];
export type StreamName = keyof typeof StreamKind;

const kindNames: readonly StreamName[] = ['control', 'stdin', 'stdout', 'stderr'];

export function streamId(process: number, kind: StreamKind): number {
  return process * 4 + kind;
}

/** @throws RpcError invalid_argument for a process number out of range */
export function splitStreamId(id: number): { process: number; kind: StreamKind } {
  const process = Math.floor(id / 4);
  if (process < 1 || process > MAX_PROCESS_NUMBER) throw violation(`stream ${id} belongs to no process`);
  return { process, kind: (id % 4) as StreamKind };
}

/** For messages and logs: "stdout of process 7". */
export function describeStream(id: number): string {
  return `${kindNames[id % 4] ?? 'stream'} of process ${Math.floor(id / 4)}`;
}
