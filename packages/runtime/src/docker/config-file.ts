/** Reading and replacing a configuration file that is somebody else's. */
import {
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CliError, errnoCode, messageOf } from '../cli/errors.ts';

/** Empty when there is none. @throws CliError */
export function readConfigFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (errnoCode(cause) === 'ENOENT') return '';
    throw new CliError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Replaces it at once, with mode and owner as they were; a symbolic link stays one.
 * @throws CliError; the file is as it was then
 */
export function replaceConfigFile(path: string, text: string): void {
  let temporary: string | undefined;
  try {
    const target = realPath(path);
    mkdirSync(dirname(target), { recursive: true });
    const { mode, uid, gid } = statSync(target, { throwIfNoEntry: false }) ?? {
      mode: 0o644,
      uid: -1,
      gid: -1,
    };
    temporary = join(dirname(target), `.${basename(target)}.${process.pid}`);
    const fd = openSync(temporary, 'wx', mode & 0o7777);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (uid !== -1) chownSync(temporary, uid, gid);
    renameSync(temporary, target);
  } catch (cause) {
    if (temporary !== undefined) rmSync(temporary, { force: true });
    throw new CliError(`cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return path;
    throw error;
  }
}
