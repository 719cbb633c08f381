import { parseSignal } from '@coracle/sys';
import { askContainer, isRpcError } from '../agent.ts';
import { command } from '../command.ts';
import { CliError, messageOf } from '../errors.ts';
import { checkContainerId } from '../ids.ts';
import { statusOf } from '../status.ts';

export default command({
  options: {
    all: { type: 'boolean', short: 'a', help: 'signal every process of the container' },
  },
  positionals: [1, 2],
  async run({ all = false }, [id = '', signal = 'SIGTERM'], { store }) {
    const state = store.read(checkContainerId(id));
    const number = signalNumber(signal);
    const stopped = () => new CliError(`container not running: ${id} is ${statusOf(state)}`);
    const status = statusOf(state);
    if (status === 'stopped' || status === 'creating') {
      // As runc: "all of a stopped container" is nobody, which is no error.
      if (all) return;
      throw stopped();
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

function signalNumber(text: string): number {
  try {
    return parseSignal(text);
  } catch (error) {
    throw new CliError(messageOf(error), { cause: error });
  }
}
