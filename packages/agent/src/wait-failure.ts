import { decodeWaitStatus } from '@coracle/sys';

/** How a helper program ended, such as `exited with 3`; undefined when it did well. */
export function failureOf(waitStatus: number): string | undefined {
  const status = decodeWaitStatus(waitStatus);
  if (status.kind !== 'exited') return `was killed by ${status.signal}`;
  return status.code === 0 ? undefined : `exited with ${status.code}`;
}
