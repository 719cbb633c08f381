/**
 * sweep.ts FOLDER: waits for the end of its stdin, and then removes what there still is of the engines in that folder. vitest
 * holds the other end: however it ends, interrupted or killed, nothing of its engines stays. It takes no part in a run that
 * cleans up by itself.
 */
import { existsSync } from 'node:fs';
import { sweep } from './world.ts';

const [folder = ''] = process.argv.slice(2);
process.stdin.resume();
process.stdin.on('end', async () => {
  if (existsSync(folder)) await sweep(folder);
  process.exit();
});
