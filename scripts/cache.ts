import { homedir } from 'node:os';
import path from 'node:path';

/** Where downloads and built things are kept, outside the checkout: the same rule as in every part. */
export function cacheFolder(): string {
  const { CORACLE_CACHE, XDG_CACHE_HOME } = process.env;
  return CORACLE_CACHE ?? path.join(XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'coracle');
}
