import net, { type Socket } from 'node:net';

/** @throws the error of connect(2); the signal's reason */
export function connectUnixSocket(path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path });
    const settle = (done: () => void): void => {
      signal.removeEventListener('abort', aborted);
      socket.off('error', failed);
      socket.off('connect', connected);
      done();
    };
    const connected = (): void => settle(() => resolve(socket));
    const failed = (error: Error): void => settle(() => reject(error));
    const aborted = (): void =>
      settle(() => {
        socket.destroy();
        reject(signal.reason);
      });
    socket.once('connect', connected);
    socket.once('error', failed);
    signal.addEventListener('abort', aborted);
  });
}
