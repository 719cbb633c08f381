import { print } from '../cli/output.ts';
import { ociVersion, version } from '../cli/version.ts';
import { command } from '../command.ts';

export default command({
  options: {},
  positionals: [0, 0],
  async run() {
    // containerd and podman take the version from the first line and the specification's from `spec:`.
    print(`coracle version ${version}\nspec: ${ociVersion}\nnode: ${process.versions.node}\n`);
  },
});
