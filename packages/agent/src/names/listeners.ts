/** Listening for DNS queries by UDP and TCP, on a port that the kernel has chosen. */
import type { Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { hasCode } from '@coracle/sys';
import { NAME_LIMITS } from '../limits.ts';
import { Kind } from './records.ts';

/** False: it is not taken, and `done` not called. */
export type Ask = (kind: Kind, message: Buffer, done: (answer: Buffer | undefined) => void) => boolean;

/** A port that is free by TCP may not be by UDP. */
const ATTEMPTS = 20;

export class Listeners implements Disposable {
  readonly port: number;
  readonly #server: Server;
  readonly #datagrams: DatagramSocket;
  readonly #connections = new Set<Socket>();

  /** @throws Error when no port is free on the address */
  static async open(address: string, ask: Ask): Promise<Listeners> {
    for (let attempt = 1; ; attempt++) {
      const server = createServer({ allowHalfOpen: true });
      server.listen(0, address);
      await once(server, 'listening');
      const { port } = server.address() as { port: number };
      // Not imported: a start-up snapshot cannot hold it.
      const datagrams = process.getBuiltinModule('node:dgram').createSocket('udp4');
      datagrams.bind(port, address);
      try {
        await once(datagrams, 'listening');
        return new Listeners(port, server, datagrams, ask);
      } catch (error) {
        server.close();
        if (!hasCode(error, 'EADDRINUSE') || attempt === ATTEMPTS) throw error;
      }
    }
  }

  private constructor(port: number, server: Server, datagrams: DatagramSocket, ask: Ask) {
    this.port = port;
    this.#server = server;
    this.#datagrams = datagrams;
    let closed = false;
    datagrams.on('message', (message, from) => {
      ask(Kind.udp, message, (answer) => {
        // Nobody may be there any more, which nobody has to know.
        if (answer !== undefined && !closed) datagrams.send(answer, from.port, from.address, () => {});
      });
    });
    datagrams.on('error', () => {});
    datagrams.on('close', () => {
      closed = true;
    });
    server.maxConnections = NAME_LIMITS.maxConnections;
    server.on('connection', (socket) => {
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
      serve(socket, ask);
    });
  }

  [Symbol.dispose](): void {
    this.#datagrams.close();
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }
}

/**
 * Each message has its length, 16 bits, in front (RFC 1035, 4.2.2). The next is read when the last is answered; who has said
 * that no more will come gets its answers still.
 */
function serve(socket: Socket, ask: Ask): void {
  let idle = true;
  const next = (): void => {
    const prefix = socket.read(2) as Buffer | null;
    idle = prefix === null;
    if (prefix === null) {
      if (socket.readableEnded) socket.end();
      else socket.once('readable', next);
    } else if (prefix.length < 2 || prefix.readUInt16BE() === 0) socket.destroy();
    else whole(prefix.readUInt16BE());
  };
  const whole = (length: number): void => {
    const message = socket.read(length) as Buffer | null;
    if (message === null) return void socket.once('readable', () => whole(length));
    // Of a message that is cut the last read gives what there is.
    if (message.length < length || !ask(Kind.tcp, message, answered)) socket.destroy();
  };
  const answered = (answer: Buffer | undefined): void => {
    if (answer === undefined) return void socket.destroy();
    const head = Buffer.alloc(2);
    head.writeUInt16BE(answer.length);
    socket.write(Buffer.concat([head, answer]));
    next();
  };
  socket.on('end', () => {
    if (idle) socket.end();
  });
  socket.setTimeout(NAME_LIMITS.answerMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  next();
}
