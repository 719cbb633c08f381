/**
 * /metrics on a TCP port, for a Prometheus that reads no unix sockets. Nothing else is answered there, and what is tells
 * of nobody: captures stay on the debug socket.
 */
import { createServer, type Server } from 'node:http';
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

  constructor(source: MetricsSource) {
    this.#server = createServer((request, response) => {
      if (request.method !== 'GET') refuse(response, 405, 'only GET is understood here');
      else if (request.url !== '/metrics') refuse(response, 404, 'there is only /metrics');
      else void answerMetrics(source, response);
    });
  }

  /** @returns the port, for who asked for any. @throws Node's error */
  async listen({ host, port }: MetricsAddress): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    // A proxy that nobody uses ends: who reads its numbers does not hold it.
    this.#server.unref();
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
