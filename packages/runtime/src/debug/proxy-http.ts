/** Questions to a proxy's debug socket. */
import { request } from 'node:http';

export interface AskOptions {
  readonly signal: AbortSignal;
  /** Ends by itself after so long, with what has come: of an answer that would never end. */
  readonly forMs?: number;
}

/** More of a capture is left out. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** @throws Error that says what is wrong with the proxy */
export function askProxy(proxySocket: string, path: string, { signal, forMs }: AskOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const asked = request({ socketPath: `${proxySocket}.debug`, path, signal, agent: false }, (answer) => {
      const end = (): void => {
        clearTimeout(timer);
        asked.destroy();
        if (answer.statusCode === 200) resolve(Buffer.concat(chunks));
        else reject(new Error(`the proxy answers ${path} with ${answer.statusCode}`));
      };
      const timer = forMs === undefined ? undefined : setTimeout(end, forMs);
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= MAX_ANSWER_BYTES) chunks.push(chunk);
        else end();
      });
      answer.on('end', end).on('error', end);
    });
    asked.on('error', reject).end();
  });
}
