/**
 * The agent of an image: run once while the image is built, with `node --build-snapshot` (packages/image, snapshot.ts).
 * What this file has loaded then is what a guest starts with, and nothing is read, compiled or linked at boot: half a
 * second under emulation. So nothing of the machine that builds may be looked at before `runGuest`.
 *
 * doc/api/cli.md, `--build-snapshot`; doc/api/v8.md, "Startup snapshot API".
 */
import { startupSnapshot } from 'node:v8';
import { runGuest } from './guest.ts';
import { guestOptions } from './options.ts';

// The builder's, which would make two builds differ. Node sets it anew when the snapshot is started.
Object.defineProperty(process, 'pid', { value: 1, enumerable: true, configurable: true });
startupSnapshot.setDeserializeMainFunction(() => void runGuest(guestOptions));
