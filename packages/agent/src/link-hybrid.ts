/**
 * A VMM's end of hybrid vsock, played by the local tier's agent: `CONNECT port` leads to the agent (docs/protocol.md,
 * "Transports"). In a VM the VMM does this, and the agent sees AF_VSOCK.
 */
import type { Socket } from 'node:net';
import type { LinkSlot } from './link-slot.ts';
import { log } from './log.ts';

/** "CONNECT 4294967295\n" */
const MAX_COMMAND_BYTES = 19;
/** Where Firecracker begins to number its own ends. */
const FIRST_HOST_PORT = 2 ** 30;

let connections = 0;

/** @param port undefined: nobody listens on any, and the connection is closed, as a VMM does it */
export function answerConnect(socket: Socket, port: number | undefined, slot: Pick<LinkSlot, 'take'>): void {
  let command = Buffer.alloc(0);
  const read = (chunk: Buffer): void => {
    command = Buffer.concat([command, chunk]);
    const end = command.indexOf('\n');
    if (end === -1 && command.length < MAX_COMMAND_BYTES) return;
    socket.pause();
    socket.off('data', read);
    const wanted = /^CONNECT (\d+)$/.exec(command.toString('latin1', 0, Math.max(end, 0)))?.[1];
    if (wanted === undefined || Number(wanted) !== port) {
      log('info', 'refused a CONNECT');
      socket.destroy();
      return;
    }
    socket.off('error', ignore);
    const rest = command.subarray(end + 1);
    if (rest.length > 0) socket.unshift(rest);
    socket.write(`OK ${FIRST_HOST_PORT + connections++}\n`);
    slot.take(socket);
  };
  // Whoever leaves before its command was whole is nobody's business.
  const ignore = (): void => {};
  socket.on('error', ignore);
  socket.on('data', read);
}
