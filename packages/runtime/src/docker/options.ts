/** Flags of `install` and `uninstall`. */
import { UsageError } from '../cli/errors.ts';
import type { OptionSpecs } from '../cli/options.ts';

const defaultFile = '/etc/docker/daemon.json';
const defaultName = 'coracle';

export const installOptions = {
  docker: { type: 'boolean', help: "Docker's daemon.json" },
  config: { type: 'string', value: 'FILE', help: `another file than ${defaultFile}` },
  name: { type: 'string', value: 'NAME', help: `for docker run --runtime NAME (default: ${defaultName})` },
  'dry-run': { type: 'boolean', help: 'show the change only' },
} as const satisfies OptionSpecs;

/** @throws UsageError unless --docker is given, the only engine so far, or for a name that Docker refuses */
export function installPlace(values: {
  readonly docker: boolean | undefined;
  readonly config: string | undefined;
  readonly name: string | undefined;
}): { readonly file: string; readonly name: string } {
  if (values.docker !== true) throw new UsageError('say where: --docker');
  const { config: file = defaultFile, name = defaultName } = values;
  if (name === '' || name === 'runc' || name === 'io.containerd.runc.v2') {
    throw new UsageError(
      `--name ${JSON.stringify(name)} cannot be used: Docker keeps it for its own runtime`,
    );
  }
  return { file, name };
}
