/** A library client that is killed in the middle: reads without end. `node victim.ts PROXY SANDBOXES SANDBOX CONTAINER` */
import { Coracle } from '@coracle/client';

const [proxy = '', sandboxes = '', sandboxId = '', containerId = ''] = process.argv.slice(2);
const sandbox = await new Coracle({ proxy, sandboxes }).connect(sandboxId);
const { stdout } = await sandbox.container(containerId).exec({ args: ['yes'], env: ['PATH=/bin'] });
process.stdout.write('ready\n');
stdout.resume();
