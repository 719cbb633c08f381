/** Docker's words for the oracle. Networks have a file of their own; without one nothing is compared twice. */
import { oracle } from './oracle.ts';

export const { same, shared, looks, finds } = oracle({
  run: (runtime, name) => `docker run --runtime=${runtime} --name=${name} --network=none`,
  cleanUp: 'docker ps -aq --filter name=^/$C | xargs -r docker rm -fv >/dev/null',
});
