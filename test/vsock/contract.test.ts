/** The streams' contract with agent and proxy over AF_VSOCK: both are here, the machine is one guest. */
import { transportContract } from '../contract/contract.ts';
import { MiB } from '../contract/place.ts';

transportContract('local', 'vsock', {
  bytes: 4 * MiB,
  lossBytes: 4 * MiB,
  lines: 50_000,
  countingRounds: 2,
  copyingRounds: 5,
  commandRounds: 1,
  atOnce: 2,
  promptMs: 40_000,
});
