/** Takes a capture from a proxy, and throws it away: `capture.ts SOCKET CONTENT`. */
import { captureFromProxy } from '@coracle/tap';
import type { CaptureContent } from '@coracle/wire';

const [socketPath = '', content = 'digests'] = process.argv.slice(2);
const capture = captureFromProxy({
  socketPath,
  content: content as CaptureContent,
  sandboxes: [],
  signal: new AbortController().signal,
  onState: (state) => void (state === 'capturing' && process.stdout.write('ready\n')),
});
for await (const _ of capture);
