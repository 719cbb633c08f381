/** Making a VM that waits ready for its first container: what that costs more than others is had beforehand. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { rehearse } from '@coracle/wire';
import { type Abortable, orAbort } from './abort.ts';

export interface RehearseOptions extends Abortable {
  /** Tags of what it has of virtiofs. */
  readonly shares?: readonly string[];
}

/**
 * Runs a container of the guest's own programs in a VM that has no sandbox, and leaves the VM as it was (docs/templates.md).
 * @param linkPath the socket of its virtio-serial port, to which nobody else is connected
 * @throws RpcError the agent's; why the link ended; Error of connect(2); the signal's reason
 */
export async function rehearseVm(
  linkPath: string,
  { shares = [], signal }: RehearseOptions = {},
): Promise<void> {
  const socket = connect(linkPath);
  try {
    await once(socket, 'connect', signal === undefined ? {} : { signal });
    await orAbort(rehearse(socket, shares), signal);
  } finally {
    socket.destroy();
  }
}
