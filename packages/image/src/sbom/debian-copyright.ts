/** Licences out of a Debian package's copyright file, where that is written for machines. */
import { readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { UnpackedPackage } from '../root/libraries.ts';

/**
 * Names of the licences as Debian writes them, sorted; undefined where the file is for people only.
 * Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
 */
export function parseDebianCopyright(text: string): string[] | undefined {
  const [header, ...stanzas] = text.split(/\n[ \t]*\n/);
  if (!/^Format: *https?:\/\/[^\n]*copyright-format\/1\.0/m.test(header ?? '')) return undefined;
  // Stanzas without Files: hold the text of a licence that others name.
  const names = [header ?? '', ...stanzas.filter((stanza) => /^Files:/m.test(stanza))].flatMap((stanza) =>
    [...stanza.matchAll(/^License:[ \t]*(\S[^\n]*)$/gm)].map((match) => match[1]?.trim() ?? ''),
  );
  return [...new Set(names)].sort();
}

/** A package may share its documentation folder with another one, to which it then holds a link. */
export async function readDebianLicences(
  name: string,
  packages: readonly UnpackedPackage[],
): Promise<string[] | undefined> {
  const documents = (one: string) => {
    const unpacked = packages.find((candidate) => candidate.name === one);
    return unpacked && join(unpacked.folder, 'usr/share/doc', one);
  };
  const own = documents(name);
  const shared = own && (await readlink(own).then(basename, () => name));
  const folder = shared && documents(shared);
  if (!folder) return undefined;
  const text = await readFile(join(folder, 'copyright'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parseDebianCopyright(text);
}
