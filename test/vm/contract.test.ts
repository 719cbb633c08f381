/** The contract of test/contract in real virtual machines; all that can share one does. */
import { contract } from '../contract/contract.ts';

contract('qemu');
