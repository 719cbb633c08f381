import { parseSignal } from '@coracle/sys';
import { CliError, messageOf } from '../cli/errors.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { statusOf } from '../container/status.ts';
import { askContainer, isRpcError } from '../sandbox/agent.ts';

export default command({
  options: {
    all: { type: 'boolean', short: 'a', help: 'signal every process of the container' },
  },
  positionals: [1, 2],
  async run({ all = false }, [id = '', signal = 'SIGTERM'], { store, log }) {
    const state = store.read(checkContainerId(id));
    const number = signalNumber(signal);
    const stopped = () => new CliError(`container not running: ${id} is ${statusOf(state)}`);
    const status = statusOf(state);
    if (status === 'stopped' || status === 'creating') {
      // As runc: "all of a stopped container" is nobody, which is no error.
      if (all) return;
      throw stopped();
    }
    if (number === sigkill && (await hasLostItsFiles(state.sandboxDirectory))) {
      log.warning(
        `container ${id}: virtiofsd has died, so its processes can't end; its virtual machine is ended`,
      );
      await (await import('@coracle/vm')).stopVm(state.sandboxDirectory, true);
      return;
    }
    await askContainer(state, `cannot signal container ${id}`, (container) =>
      container.signal(number, { all }),
    ).catch((error: CliError) => {
      // It has just ended; engines look for these words.
      if (
        isRpcError(error.cause) &&
        ['failed_precondition', 'not_found', 'unavailable'].includes(error.cause.code)
      ) {
        throw new CliError(`container not running: ${error.cause.reason}`, { cause: error });
      }
      throw error;
    });
  },
});

const sigkill = 9;

/**
 * Whether who serves the VM's files is dead. A process that waits for a file then is not ended by SIGKILL either: the
 * guest's kernel lets a request that has been sent run its course (fs/fuse/virtio_fs.c has no way to take one back).
 */
async function hasLostItsFiles(sandboxDirectory: string): Promise<boolean> {
  const { isAlive, readRecord } = await import('@coracle/vm');
  return Object.values(readRecord(sandboxDirectory)?.helpers ?? {}).some((helper) => !isAlive(helper));
}

function signalNumber(text: string): number {
  try {
    return parseSignal(text);
  } catch (error) {
    throw new CliError(messageOf(error), { cause: error });
  }
}
