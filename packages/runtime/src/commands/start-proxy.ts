import { dirname } from 'node:path';
import { command } from '../command.ts';
import { CliError } from '../errors.ts';
import { type ProxyPlace, startProxy } from '../proxy.ts';

/** For a shim that has lost its proxy. The shim hands its environment on, and can give no arguments. */
export default command({
  options: {},
  positionals: [0, 0],
  async run() {
    const {
      CORACLE_PROXY_SOCKET: socketPath,
      CORACLE_SANDBOXES: sandboxes,
      CORACLE_SANDBOX: only,
    } = process.env;
    if (socketPath === undefined || sandboxes === undefined) {
      throw new CliError('start-proxy needs CORACLE_PROXY_SOCKET and CORACLE_SANDBOXES in its environment');
    }
    const place: ProxyPlace = { socketPath, sandboxes, ...(only === undefined ? {} : { only }) };
    await startProxy(place).catch((cause: unknown) => {
      throw new CliError(`cannot start a proxy for ${dirname(socketPath)}: ${(cause as Error).message}`, {
        cause,
      });
    });
  },
});
