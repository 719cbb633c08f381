/**
 * /metrics on a TCP port, for a Prometheus that reads no unix sockets. Nothing else is answered there, and what is tells
 * of nobody: captures stay on the debug socket. Node's HTTP server, 10 MiB of memory, is loaded where there is a port.
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerMetrics, refuse } from './http.ts';
import type { MetricsSource } from './metrics.ts';

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

/** "9464" is this host's alone; "0.0.0.0:9464" and "[::]:9464" are everybody's. Undefined: it is no address. */
export function parseMetricsAddress(text: string): MetricsAddress | undefined {
  const match = /^(?:(?<host>[^:[\]\s]+|\[[0-9a-fA-F:.]+\]):)?(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.port ?? Number.NaN);
  if (!(port <= 65_535)) return undefined;
  return { host: match?.groups?.host?.replace(/^\[|\]$/g, '') ?? '127.0.0.1', port };
}

export class MetricsPort {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws Node's error */
  static async listen(source: MetricsSource, { host, port }: MetricsAddress): Promise<MetricsPort> {
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => {
      if (request.method !== 'GET') refuse(response, 405, 'only GET is understood here');
      else if (request.url !== '/metrics') refuse(response, 404, 'there is only /metrics');
      else void answerMetrics(source, response);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    // A proxy that nobody uses ends: who reads its numbers does not hold it.
    server.unref();
    return new MetricsPort(server);
  }

  /** For who asked for any. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
