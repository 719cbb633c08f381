/** The bytes of a capture that a sandbox's agent makes (docs/capture.md, "In the agent"), read through the proxy. */
import { TapError } from '../errors.ts';
import type { ProxyCaptureOptions } from './proxy-capture.ts';

/**
 * Ends when the signal does.
 * @throws TapError refused, when there is no such sandbox, no proxy, or an agent that knows no captures
 */
export async function* captureFromAgent(options: ProxyCaptureOptions): AsyncGenerator<Buffer> {
  const { socketPath, content, sandboxes, signal, onState } = options;
  const [sandbox = ''] = sandboxes;
  // The library is for this alone.
  const { Coracle, isRpcError } = await import('@coracle/client');
  try {
    const connected = await new Coracle({ proxy: socketPath }).connect(sandbox, { signal });
    try {
      let first = true;
      for await (const bytes of connected.capture({ content, signal })) {
        if (first) onState?.('capturing');
        first = false;
        yield bytes;
      }
    } finally {
      connected.close();
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!isRpcError(error)) throw error;
    throw new TapError('refused', `the agent of ${sandbox} gives no capture: ${error.message}`, {
      cause: error,
    });
  }
}
