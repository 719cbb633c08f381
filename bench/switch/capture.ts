/**
 * Takes a capture from a proxy, and throws it away: `capture.ts SOCKET CONTENT`. SIGUSR2 begins it, and the next one ends
 * it.
 */
import { captureFromProxy } from '@coracle/tap';
import type { CaptureContent } from '@coracle/wire';

const [socketPath = '', content = 'digests'] = process.argv.slice(2);
let running: AbortController | undefined;

async function begin(): Promise<void> {
  running = new AbortController();
  const { signal } = running;
  const options = { socketPath, content: content as CaptureContent, sandboxes: [], signal };
  for await (const _ of captureFromProxy(options));
}

process.on('SIGUSR2', () => {
  running?.abort();
  if (running === undefined) void begin();
  else running = undefined;
});
// Until it is killed.
setInterval(() => undefined, 2 ** 30);
process.stdout.write('ready\n');
