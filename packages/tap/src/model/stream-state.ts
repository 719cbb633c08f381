/** How a stream stands when the capture ends, in a few words. */
import { formatBytes } from '../words/text.ts';
import type { StreamFlow } from './stream-flow.ts';

export function describeStreamState(stream: StreamFlow): string {
  if (stream.stopped !== undefined) return 'stopped';
  if (stream.complete) return 'ended';
  if (stream.blocked !== undefined) return `no credit, ${formatBytes(stream.undelivered)} not delivered`;
  return stream.final === undefined ? 'open' : `ended, ${formatBytes(stream.undelivered)} not delivered`;
}
