/**
 * Streams over hybrid vsock, in both directions, by the local driver: its agent plays the VMM's end, since QEMU has
 * none (docs/decisions/transports.md). AF_VSOCK runs in a guest: test/vm/vsock.test.ts.
 */
import { describe } from 'vitest';
import { amountsOf } from '../contract/bytes.ts';
import { transportContract } from '../contract/contract.ts';
import { MiB } from '../contract/place.ts';

const amounts = {
  ...amountsOf.local,
  bytes: 16 * MiB,
  lossBytes: 8 * MiB,
  countingRounds: 5,
  copyingRounds: 10,
  commandRounds: 2,
};

describe('hybrid vsock, the host connects', () => transportContract('local', 'hybrid', amounts));
describe('hybrid vsock, the guest connects', () => transportContract('local', 'hybrid-listen', amounts));
