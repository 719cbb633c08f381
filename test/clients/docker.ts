/** Docker's words for the oracle. Networks have a file of their own; without one nothing is compared twice. */
import { oracle, type Side } from './oracle.ts';
import { writeDockerConfig } from './world.ts';

export const { same, shared, looks, finds } = oracle({
  run: (runtime, name) => `docker run --runtime=${runtime} --name=${name} --network=none`,
  cleanUp: 'docker ps -aq --filter name=^/$C | xargs -r docker rm -fv >/dev/null',
});

/** What is built and run without a word about runtimes has this side's from now on. */
export async function makeDefault(side: Side): Promise<void> {
  writeDockerConfig(side.world.folder, { 'default-runtime': side.runtime });
  process.kill(side.world.dockerPid, 'SIGHUP');
  await side.must(`eventually sh -c 'docker info -f {{.DefaultRuntime}} | grep -x $RUNTIME'`);
}
