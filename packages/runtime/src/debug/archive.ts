/** A .tar.gz, mode 0600, by the host's tar(1). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CliError, messageOf } from '../cli/errors.ts';

export interface ArchiveFile {
  readonly file: string;
  readonly content: Buffer;
}

/** @throws CliError when the file is there already, or tar(1) fails */
export async function writeArchive(
  path: string,
  folderName: string,
  files: readonly ArchiveFile[],
): Promise<void> {
  const descriptor = create(path);
  const folder = mkdtempSync(join(tmpdir(), 'coracle-debug-'));
  try {
    mkdirSync(join(folder, folderName), { mode: 0o700 });
    for (const { file, content } of files)
      writeFileSync(join(folder, folderName, file), content, { mode: 0o600 });
    const options = ['--create', '--gzip', '--owner=0', '--group=0', '--numeric-owner', '--sort=name'];
    const tar = spawn('tar', [...options, '-C', folder, folderName], {
      stdio: ['ignore', descriptor, 'pipe'],
    });
    let said = '';
    tar.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const [code] = await once(tar, 'close');
    if (code !== 0) throw new Error(`tar ended with ${code}: ${said.trim()}`);
  } catch (cause) {
    rmSync(path, { force: true });
    throw new CliError(`cannot write the archive ${path}: ${messageOf(cause)}`, { cause });
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true, force: true });
  }
}

function create(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    throw new CliError(`cannot create the archive ${path}: ${messageOf(cause)}`, { cause });
  }
}
