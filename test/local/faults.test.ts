/** The fault suite of test/vm/faults.test.ts by the local driver: more faults, in less time. */
import { recoverySuite } from '../faults/recovery.ts';
import { faultSuite } from '../faults/suite.ts';

faultSuite({ driver: 'local', faults: 40, kills: 30 }, 240_000);
recoverySuite('local');
