/**
 * The agent of an image: run once while the image is built, with `node --build-snapshot` (packages/image, snapshot.ts).
 * What this file has loaded then is what a guest starts with, and nothing is read, compiled or linked at boot: half a
 * second under emulation. So nothing of the machine that builds may be looked at before `runGuest`.
 *
 * doc/api/cli.md, `--build-snapshot`; doc/api/v8.md, "Startup snapshot API".
 */
import './late-views.ts';
import { startupSnapshot } from 'node:v8';
import { runGuest } from './guest.ts';
import { restoreDataView } from './late-views.ts';
import { guestOptions } from './options.ts';

restoreDataView();

// What Node knows of the building machine would make two builds differ. It is set anew when the snapshot is started.
for (const [name, value] of [
  ['pid', 1],
  ['execPath', '/usr/bin/node'],
  ['argv0', 'node'],
  ['argv', ['/usr/bin/node']],
] as const) {
  Object.defineProperty(process, name, { value, enumerable: true, configurable: true, writable: true });
}
startupSnapshot.setDeserializeMainFunction(() => void runGuest(guestOptions));
