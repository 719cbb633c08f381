import { readlinkSync } from 'node:fs';
import path from 'node:path';

/** Its file's name; not its arguments, which are user data. It may have ended. */
export function programOf(pid: number): string {
  if (pid === 0) return '';
  try {
    return path.basename(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return '';
  }
}
