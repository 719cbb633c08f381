#!/usr/bin/env node
import { runGuest } from './guest.ts';
import { runLocal } from './local.ts';
import { setLogLevel } from './log.ts';
import { readOptions } from './options.ts';

const options = readOptions(process.argv.slice(2));
setLogLevel(options.logLevel);
if (options.local) await runLocal(options.local, options.stateFolder);
else await runGuest(options.link, options.stateFolder);
