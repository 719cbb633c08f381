/** 16 processes in one real VM and a saboteur: the proxy is killed at least 20 times, and each other fault strikes too. */
import { recoverySuite } from '../faults/recovery.ts';
import { faultSuite } from '../faults/suite.ts';

faultSuite({ driver: 'qemu', faults: 16, kills: 20 }, 600_000);
recoverySuite('qemu');
