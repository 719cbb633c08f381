#!/usr/bin/env node
import { runGuest } from './guest.ts';
import { runLocal } from './local.ts';
import { setLogLevel } from './log.ts';
import { guestOptions, readLocalOptions } from './options.ts';

if (process.pid === 1) await runGuest(guestOptions);
else {
  setLogLevel(process.env.CORACLE_LOG);
  await runLocal(readLocalOptions(process.argv.slice(2)));
}
