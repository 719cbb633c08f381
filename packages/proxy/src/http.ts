/** Plain answers over HTTP. */
import type { ServerResponse } from 'node:http';
import { type MetricsSource, metricsText } from './metrics.ts';

export function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
  response.end(`${message}\n`);
}

export function answerJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(`${JSON.stringify(value)}\n`);
}

export async function answerMetrics(source: MetricsSource, response: ServerResponse): Promise<void> {
  const { type, text } = await metricsText(source);
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' });
  response.end(text);
}
