/** The shim's process, found again by later commands. */
import { isAlive, type ProcessIdentity } from '@coracle/sys/identity';

export { identify, isAlive, type ProcessIdentity } from '@coracle/sys/identity';

/** Kills the process if it is still the one meant, and waits until it is gone. */
export async function killAndWait(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return;
  const { kill, waitForExit } = await import('@coracle/sys');
  kill(identity.pid, 'SIGKILL');
  await waitForExit(identity.pid);
}
