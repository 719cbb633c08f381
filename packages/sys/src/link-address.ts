/**
 * Where a sandbox's link is: `link.json` in the sandbox's folder, written by whoever starts the VM and read by the
 * proxy (docs/protocol.md, "Transports"). Without the file it is the unix socket `link.sock`.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ProcessIdentity } from './identity.ts';
import { VSOCK_CID_FIRST_GUEST, VSOCK_CID_LOCAL } from './vsock.ts';

export type LinkAddress =
  /** A unix socket: QEMU's end of a virtio-serial port, or the agent itself. */
  | { readonly kind: 'unix'; readonly path: string }
  /** A VMM's unix socket; `CONNECT port` there leads to the guest's AF_VSOCK port. */
  | { readonly kind: 'hybrid'; readonly path: string; readonly port: number }
  /** The other way round: the guest connects to the host's AF_VSOCK port, which is the unix socket `path_port`. */
  | { readonly kind: 'hybrid-listen'; readonly path: string; readonly port: number }
  | { readonly kind: 'vsock'; readonly cid: number; readonly port: number };

export interface LinkRecord {
  readonly address: LinkAddress;
  /** The VM's process, where the transport can't tell a guest that boots from one that is gone. */
  readonly process?: ProcessIdentity;
}

export const LINK_RECORD = 'link.json';
export const LINK_SOCKET = 'link.sock';

/** `hybrid:/run/x/vsock.sock:1024`, as in configuration and logs. */
export function formatLinkAddress(address: LinkAddress): string {
  switch (address.kind) {
    case 'unix':
      return `unix:${address.path}`;
    case 'hybrid':
    case 'hybrid-listen':
      return `${address.kind}:${address.path}:${address.port}`;
    case 'vsock':
      return `vsock:${address.cid}:${address.port}`;
  }
}

/** @param folder what relative paths are relative to. @throws TypeError that says what is wrong */
export function parseLinkAddress(text: string, folder: string): LinkAddress {
  const [, kind, rest = ''] = /^([a-z-]+):(.+)$/s.exec(text) ?? [];
  if (kind === 'unix') return { kind, path: resolve(folder, rest) };
  const [, first, last] = /^(.+):(\d{1,10})$/s.exec(rest) ?? [];
  const port = Number(last);
  if (first !== undefined && port < 0xffff_ffff) {
    if (kind === 'hybrid' || kind === 'hybrid-listen') return { kind, path: resolve(folder, first), port };
    const cid = /^\d{1,10}$/.test(first) ? Number(first) : Number.NaN;
    // Not the hypervisor and not the host: a link leads to a guest, or in tests to this machine itself.
    const allowed = cid === VSOCK_CID_LOCAL || (cid >= VSOCK_CID_FIRST_GUEST && cid < 0xffff_ffff);
    if (kind === 'vsock' && allowed) return { kind, cid, port };
  }
  throw new TypeError(
    `${JSON.stringify(text)} is no link address: unix:PATH, hybrid:PATH:PORT, hybrid-listen:PATH:PORT or vsock:CID:PORT`,
  );
}

/** The path of the unix socket on which a guest's connections to a port of the host arrive. */
export const hybridListenPath = ({ path, port }: { path: string; port: number }): string => `${path}_${port}`;

/** Written whole or not at all. */
export function writeLinkRecord(folder: string, record: LinkRecord): void {
  const path = join(folder, LINK_RECORD);
  const temporary = `${path}.${process.pid}`;
  const content = { version: 1, address: formatLinkAddress(record.address), process: record.process };
  try {
    writeFileSync(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** @throws Error when the file can't be read or understood */
export function readLinkRecord(folder: string): LinkRecord {
  const path = join(folder, LINK_RECORD);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { address: { kind: 'unix', path: join(folder, LINK_SOCKET) } };
  }
  try {
    const { version, address, process } = JSON.parse(text) as Record<string, unknown>;
    if (version !== 1) throw new Error(`version ${String(version)} is not known to this program`);
    return { address: parseLinkAddress(String(address), folder), ...identityOf(process) };
  } catch (cause) {
    throw new Error(`cannot read the link's record ${path}: ${(cause as Error).message}`, { cause });
  }
}

function identityOf(value: unknown): { process?: ProcessIdentity } {
  if (value === undefined) return {};
  const { pid, startTicks } = value as Partial<ProcessIdentity>;
  if (!Number.isSafeInteger(pid) || !Number.isSafeInteger(startTicks))
    throw new Error('process must have a pid and startTicks');
  return { process: { pid: pid as number, startTicks: startTicks as number } };
}
