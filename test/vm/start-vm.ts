/** Run as a program of its own by boot.test.ts: starts a VM and ends, as `coracle create` does. */
import { createQemuDriver, type VmSpec } from '@coracle/vm';

const spec = JSON.parse(process.argv[2]!) as VmSpec;
process.stdout.write('starting\n');
await createQemuDriver({ accel: 'tcg', template: 'off' }).start(spec);
process.stdout.write('started\n');
