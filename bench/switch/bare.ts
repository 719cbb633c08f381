/**
 * What a switch can't be faster than: bytes handed from one unix socket to another as they come, by Node's own pipe.
 * No frames, no streams, no routing.
 *
 *   node bench/switch/bare.ts source SOCKET           writes for ever to whoever connects
 *   node bench/switch/bare.ts relay SOCKET SOURCE     pipes the source to whoever connects
 */
import net, { type Socket } from 'node:net';

const [role = '', socketPath = '', sourcePath = ''] = process.argv.slice(2);
const BLOCK = Buffer.alloc(256 * 1024, 'coracle');

const serve: Record<string, (socket: Socket) => void> = {
  source(socket) {
    const fill = (): void => {
      while (socket.write(BLOCK));
    };
    socket.on('drain', fill);
    fill();
  },
  relay(socket) {
    net.connect(sourcePath).pipe(socket);
  },
};

net
  .createServer((socket) => {
    socket.on('error', () => socket.destroy());
    serve[role]?.(socket);
  })
  .listen(socketPath, () => process.stdout.write('ready\n'));
