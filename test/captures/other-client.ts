/** Another program: attaches to a process and reads its output to the end. `other-client.ts PROXY SANDBOX HANDLE` */
import { Coracle, type ProcessHandle } from '@coracle/client';

const [proxy = '', sandboxId = '', handle = ''] = process.argv.slice(2);
const parsed = JSON.parse(handle, (name, value) => (name === 'token' ? Buffer.from(value, 'hex') : value));
const sandbox = await new Coracle({ proxy }).connect(sandboxId);
const attached = await sandbox.attach(parsed as ProcessHandle);
process.stdout.write('attached\n');
for await (const _ of attached.stdout);
await attached.wait();
sandbox.close();
