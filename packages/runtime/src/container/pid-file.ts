import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CliError, messageOf } from '../cli/errors.ts';

/** Written whole or not at all, as runc does: engines read it as soon as it is there. */
export function writePidFile(path: string, pid: number): void {
  const temporary = join(dirname(path), `.${basename(path)}`);
  try {
    writeFileSync(temporary, String(pid), { mode: 0o666 });
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new CliError(`cannot write the pid file ${path}: ${messageOf(cause)}`, { cause });
  }
}
