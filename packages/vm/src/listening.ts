import { readFileSync } from 'node:fs';

/** `__SO_ACCEPTCON` (linux/net.h), as net/unix/af_unix.c prints it in the Flags column. */
const acceptsConnections = '00010000';

/**
 * Whether somebody listens on a unix socket. A socket file appears before its owner listens, and
 * connecting to find out would be taken for the real client (virtiofsd serves just one).
 */
export function isListening(path: string): boolean {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`) && line.split(/\s+/)[3] === acceptsConnections);
}
