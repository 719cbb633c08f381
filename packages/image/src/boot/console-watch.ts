/** When words appear on a VM's console, by the host's clock. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const lookEveryMs = 2;

export interface ConsoleTimes {
  /** The first byte: the firmware's. */
  firmwareAt?: number;
  /** The agent's main function has begun. */
  agentAt?: number;
}

/** Fills in what it sees until `signal` ends it. */
export async function watchConsole(path: string, signal: AbortSignal): Promise<ConsoleTimes> {
  const times: ConsoleTimes = {};
  while (!signal.aborted && times.agentAt === undefined) {
    const text = await readFile(path, 'latin1').catch(() => '');
    const now = performance.timeOrigin + performance.now();
    if (text !== '') times.firmwareAt ??= now;
    // An initramfs has said it as it started Node.
    if (text.split('coracle-boot: agent').length > (text.includes('coracle-boot: initrd') ? 2 : 1))
      times.agentAt = now;
    await delay(lookEveryMs, undefined, { signal }).catch(() => undefined);
  }
  return times;
}
