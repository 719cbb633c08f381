/**
 * How the proxy reaches a sandbox's agent: by the address in the sandbox's folder (docs/protocol.md, "Transports").
 * Dialling takes as long as the guest takes to boot; only the VM's own state ends it early.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connectVsock,
  formatLinkAddress,
  hasCode,
  type LinkAddress,
  type LinkRecord,
  openStream,
  readLinkRecord,
} from '@coracle/sys';
import { isAlive } from '@coracle/sys/identity';
import { type CodeName, RpcError } from '@coracle/wire';
import { connectUnixSocket } from './connect-unix.ts';
import { acceptHybrid, connectHybrid } from './hybrid.ts';

export interface DialledTransport {
  readonly socket: Duplex;
  /** The transport may hold bytes of an earlier connection: a virtio-serial port does. */
  readonly flush: boolean;
}

/** Why there is no link, as clients are told: `not_found` and `unavailable` mean that there is no VM. */
export class DialError extends RpcError {
  constructor(code: CodeName, message: string, cause?: unknown) {
    super(code, message, cause === undefined ? undefined : { cause });
  }
}

/** A guest that boots listens after a while; then it is asked this often, at most. */
const AGAIN_AT_FIRST_MS = 10;
const AGAIN_AT_LAST_MS = 100;

/** @throws DialError; the signal's reason */
export async function dialLink(
  sandboxId: string,
  folder: string,
  signal: AbortSignal,
): Promise<DialledTransport> {
  let record: LinkRecord;
  try {
    record = readLinkRecord(folder);
  } catch (error) {
    throw new DialError('failed_precondition', (error as Error).message, error);
  }
  const { address } = record;
  const attempt = dialers[address.kind] as Dialer<LinkAddress>;
  for (let waitMs = AGAIN_AT_FIRST_MS; ; waitMs = Math.min(2 * waitMs, AGAIN_AT_LAST_MS)) {
    signal.throwIfAborted();
    // Before the attempt: a process that ends during it is seen at the next.
    const gone = record.process !== undefined && !isAlive(record.process);
    if (gone)
      throw new DialError('unavailable', `the VM of sandbox ${sandboxId} is gone: its process has ended`);
    try {
      const socket = await attempt(address, signal);
      return { socket, flush: address.kind === 'unix' };
    } catch (error) {
      signal.throwIfAborted();
      const verdict = verdictOf(error, record);
      if (verdict !== 'again') throw failure(verdict, sandboxId, address, error as Error);
    }
    await delay(waitMs, undefined, { signal });
  }
}

type Dialer<A extends LinkAddress> = (address: A, signal: AbortSignal) => Promise<Socket>;

const dialers: { readonly [K in LinkAddress['kind']]: Dialer<Extract<LinkAddress, { kind: K }>> } = {
  unix: ({ path }, signal) => connectUnixSocket(path, signal),
  hybrid: connectHybrid,
  'hybrid-listen': acceptHybrid,
  // From a reserved port: the agent takes no other users of the host.
  vsock: async (address, signal) =>
    openStream(await connectVsock(address, { reservedPort: true, signal }), { allowHalfOpen: false }),
};

type Verdict = 'again' | 'no sandbox' | 'no VM' | 'refused' | 'failed';

/** What a failed attempt says of the VM. */
function verdictOf(error: unknown, { address, process }: LinkRecord): Verdict {
  const has = (...codes: string[]): boolean => codes.some((code) => hasCode(error, code));
  if (address.kind !== 'vsock') {
    if (has('ENOENT')) return 'no sandbox';
    if (has('ECONNREFUSED')) return 'no VM';
    // Hosts before this one wait to be accepted, and may be gone: QEMU takes one at a time, and may be stopped.
    if (has('EAGAIN')) return 'again';
    // The VMM is there and nobody listens in its guest.
    return has('ECONNRESET') && address.kind !== 'unix' ? 'again' : 'failed';
  }
  // ENODEV: no guest has this CID. A VMM that has only begun to run may be about to take it.
  if (has('ENODEV')) return process === undefined ? 'no VM' : 'again';
  // Nobody listens on the port yet; or the guest has no driver for vsock yet, or is paused.
  if (has('ECONNRESET', 'ETIMEDOUT')) return 'again';
  return has('EACCES', 'EPERM', 'EAFNOSUPPORT', 'EADDRINUSE') ? 'refused' : 'failed';
}

function failure(
  verdict: Exclude<Verdict, 'again'>,
  sandboxId: string,
  address: LinkAddress,
  error: Error,
): DialError {
  const where = address.kind === 'unix' ? 'link.sock' : formatLinkAddress(address);
  switch (verdict) {
    case 'no sandbox':
      return new DialError('not_found', `there is no sandbox ${sandboxId}: it has no ${where}`, error);
    case 'no VM':
      return new DialError(
        'unavailable',
        `the VM of sandbox ${sandboxId} is gone: nothing listens on ${address.kind === 'unix' ? 'its ' : ''}${where}`,
        error,
      );
    case 'refused':
      return new DialError(
        'failed_precondition',
        `cannot link to sandbox ${sandboxId} by ${where}: ${error.message}`,
        error,
      );
    case 'failed':
      return new DialError(
        'aborted',
        `the link to sandbox ${sandboxId} by ${where} failed: ${error.message}`,
        error,
      );
  }
}
