/** Reads the archives that cpio.ts writes: "newc", one archive, not compressed. */
import { ImageError } from '../errors.ts';

export interface CpioMember {
  readonly path: string;
  readonly type: 'directory' | 'file' | 'symlink';
  readonly mode: number;
  /** `uid:gid`. */
  readonly owner: string;
  /** Of a link: its target. */
  readonly data: Buffer;
}

const headerBytes = 110;
const types = new Map<number, CpioMember['type']>([
  [0o040000, 'directory'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
]);

/**
 * @param name of the archive, for messages
 * @throws ImageError `image-invalid` for what is no such archive, and for paths that lead out of it or through a link.
 */
export function decodeCpio(archive: Buffer, name: string): CpioMember[] {
  const members = new Map<string, CpioMember>();
  for (let at = 0; ; ) {
    const { mode, owner, path, dataStart, dataEnd } = readHeader(archive, at, name);
    if (path === 'TRAILER!!!') return [...members.values()];
    at = align(dataEnd);
    const type = types.get(mode & 0o170000);
    if (type === undefined) {
      throw invalid(name, `/${path} is neither a folder nor a file nor a link`);
    }
    const parent = path.split('/').slice(0, -1).join('/');
    const plain = path.split('/').every((part) => !['', '.', '..'].includes(part));
    if (!plain || (parent !== '' && members.get(parent)?.type !== 'directory') || members.has(path)) {
      throw invalid(name, `the path ${JSON.stringify(path)} is given twice or is not below a folder`);
    }
    members.set(path, { path, type, mode: mode & 0o7777, owner, data: archive.subarray(dataStart, dataEnd) });
  }
}

function readHeader(archive: Buffer, at: number, name: string) {
  const header = archive.toString('latin1', at, at + headerBytes);
  if (!/^070701[0-9A-Fa-f]{104}$/.test(header)) {
    throw invalid(name, `there is no cpio header at byte ${at}: it was cut, changed or compressed`);
  }
  const field = (index: number) => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
  const nameEnd = at + headerBytes + field(11);
  const dataStart = align(nameEnd);
  const dataEnd = dataStart + field(6);
  if (dataEnd > archive.length) throw invalid(name, `it ends within the member at byte ${at}`);
  const path = archive.toString('utf8', at + headerBytes, nameEnd - 1);
  return { mode: field(1), owner: `${field(2)}:${field(3)}`, path, dataStart, dataEnd };
}

/** Header with name, and content, each end on a multiple of four bytes. */
function align(at: number): number {
  return (at + 3) & ~3;
}

function invalid(name: string, why: string): ImageError {
  return new ImageError('image-invalid', `${name} is not an initramfs of ours: ${why}`);
}
