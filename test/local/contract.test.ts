/** The contract of test/contract by the local driver: the same suites as test/vm/contract.test.ts, in seconds. */
import { contract } from '../contract/contract.ts';

contract('local');
