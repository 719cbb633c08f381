import { print, table } from '../cli/output.ts';
import { command } from '../command.ts';
import { type Environment, readEnvironment } from '../host/environment.ts';

export default command({
  options: {
    json: { type: 'boolean', help: 'print it as JSON' },
  },
  positionals: [0, 0],
  async run({ json }, _, { store, settings }) {
    const environment = await readEnvironment(store.root, settings);
    print(json === true ? `${JSON.stringify(environment, null, 2)}\n` : render(environment));
  },
});

function render({ version, ociVersion, installation, settings, programs, image, host }: Environment): string {
  const missing = 'not found (coracle doctor says what to do)';
  return table([
    ['NAME', 'VALUE', 'FROM'],
    ['version', `${version} (OCI ${ociVersion})`, ''],
    ['installation', installation, ''],
    ...Object.entries(settings).map(([name, { value, from }]) => [name, String(value), from ?? 'default']),
    ['node', programs.node, ''],
    ['qemu', programs.qemu ?? missing, ''],
    ['virtiofsd', programs.virtiofsd ?? missing, ''],
    ['guest kernel', image.kernel ?? missing, 'image'],
    ['guest node', image.node ?? missing, 'image'],
    ['guest crun', image.crun ?? missing, 'image'],
    ['host kernel', host.kernel, ''],
    ['host CPUs', String(host.cpus), ''],
    ['host memory', `${Math.floor(host.availableBytes / 2 ** 20)} MiB available`, ''],
  ]);
}
