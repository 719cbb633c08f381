import { existsSync, readFileSync } from 'node:fs';

/** `__SO_ACCEPTCON` (linux/net.h), as net/unix/af_unix.c prints it in the Flags column. */
const acceptsConnections = '00010000';

/**
 * Whether somebody listens on a unix socket. A socket file appears before its owner listens, and
 * connecting to find out would be taken for the real client (virtiofsd serves just one).

 * The file has to be there, too: the sockets of a QEMU that was killed under the same path a moment ago are
 * listed until the last of its threads has ended, which is after its first one is a zombie.
 */
export function isListening(path: string): boolean {
  if (!existsSync(path)) return false;
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`) && line.split(/\s+/)[3] === acceptsConnections);
}
