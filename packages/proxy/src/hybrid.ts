/**
 * Hybrid vsock, as Firecracker, Cloud Hypervisor and vhost-device-vsock have it: the guest has AF_VSOCK, the host unix
 * sockets (firecracker docs/vsock.md).
 *
 *   host to guest:  connect to PATH, write "CONNECT port\n", read "OK hostport\n"; what follows is the connection
 *   guest to host:  the guest's connection to port P of CID 2 arrives at the unix socket PATH_P
 */
import { rmSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { hybridListenPath } from '@coracle/sys';
import { connectUnixSocket } from './connect-unix.ts';

interface HybridAddress {
  readonly path: string;
  readonly port: number;
}

/** "OK 4294967295\n"; whoever says more is no VMM. */
const MAX_ANSWER_BYTES = 14;

/** @throws an error with code 'ECONNRESET' when nobody in the guest listens on the port; those of connect(2) */
export async function connectHybrid({ path, port }: HybridAddress, signal: AbortSignal): Promise<Socket> {
  const socket = await connectUnixSocket(path, signal);
  try {
    socket.write(`CONNECT ${port}\n`);
    await readAnswer(socket, path, signal);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Takes the answer's line off the socket; the bytes behind it stay to be read. */
function readAnswer(socket: Socket, path: string, signal: AbortSignal): Promise<void> {
  let answer = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      socket.pause();
      socket.off('data', read).off('end', ended).off('close', ended).off('error', failed);
      signal.removeEventListener('abort', aborted);
      done();
    };
    const fail = (error: unknown): void => settle(() => reject(error));
    const read = (chunk: Buffer): void => {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\n');
      if (end === -1 && answer.length < MAX_ANSWER_BYTES) return;
      if (!/^OK \d+$/.test(answer.toString('latin1', 0, Math.max(end, 0)))) {
        const said = JSON.stringify(answer.toString('latin1', 0, MAX_ANSWER_BYTES));
        fail(new Error(`${path} answered CONNECT with ${said}: it is no hybrid vsock`));
        return;
      }
      settle(() => {
        const rest = answer.subarray(end + 1);
        if (rest.length > 0) socket.unshift(rest);
        resolve();
      });
    };
    // A VMM closes the connection when nobody listens in the guest.
    const ended = (): void => fail(withCode('ECONNRESET', `nobody listens in the guest behind ${path}`));
    const failed = (error: NodeJS.ErrnoException): void =>
      fail(error.code === 'EPIPE' ? withCode('ECONNRESET', error.message) : error);
    const aborted = (): void => fail(signal.reason);
    socket.on('data', read).once('end', ended).once('close', ended).once('error', failed);
    signal.addEventListener('abort', aborted);
  });
}

const withCode = (code: string, message: string): Error => Object.assign(new Error(message), { code });

/**
 * Waits for the guest to connect. Meanwhile a connection to PATH that says nothing tells when the VMM ends: `PATH_port`
 * is our own socket and knows nothing of it.
 * @throws an error with code 'ECONNRESET' when the VMM has closed that connection: it may have ended; those of connect(2)
 */
export async function acceptHybrid(address: HybridAddress, signal: AbortSignal): Promise<Socket> {
  const lifeline = await connectUnixSocket(address.path, signal);
  const listenPath = hybridListenPath(address);
  // Of a proxy that was killed.
  rmSync(listenPath, { force: true });
  const server = net.createServer({ allowHalfOpen: false, pauseOnConnect: true });
  try {
    return await new Promise<Socket>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      lifeline.on('error', reject);
      lifeline.once('close', () =>
        reject(withCode('ECONNRESET', `${address.path} has closed the connection`)),
      );
      lifeline.resume();
      server.once('error', reject);
      server.maxConnections = 1;
      server.once('connection', resolve);
      const umask = process.umask(0o177);
      try {
        server.listen(listenPath);
      } finally {
        process.umask(umask);
      }
    });
  } finally {
    lifeline.on('error', () => undefined).destroy();
    // Removes the socket file as well; whoever connects too late finds nobody and tries again.
    server.on('error', () => undefined).close();
  }
}
