/**
 * Writes a cpio archive in the "newc" format that the kernel unpacks as an initramfs
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Entries are sorted and all times, owners
 * and device numbers are zero, so the same entries always give the same bytes.
 */
export type CpioEntry =
  | { kind: 'directory'; path: string; mode?: number }
  | { kind: 'file'; path: string; data: Uint8Array; mode?: number }
  | { kind: 'symlink'; path: string; target: string };

const fileType = { directory: 0o040000, file: 0o100000, symlink: 0o120000 } as const;
const defaultMode = { directory: 0o755, file: 0o644, symlink: 0o777 } as const;
const trailerName = 'TRAILER!!!';

/**
 * @param entries paths are relative, without a leading slash; parent folders are added where none is given.
 * @throws RangeError for a path that is absolute, empty, has `..`, or is given twice.
 */
export function encodeCpio(entries: readonly CpioEntry[]): Buffer {
  const byPath = new Map<string, CpioEntry>();
  for (const entry of entries) {
    if (!/^[^/]/.test(entry.path) || entry.path.split('/').some((part) => part === '' || part === '..')) {
      throw new RangeError(`cpio entry ${JSON.stringify(entry.path)}: the path must be relative and plain`);
    }
    if (byPath.has(entry.path)) throw new RangeError(`cpio entry ${entry.path} is given twice`);
    byPath.set(entry.path, entry);
  }
  for (const path of [...byPath.keys()]) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      if (!byPath.has(parent)) byPath.set(parent, { kind: 'directory', path: parent });
    }
  }
  // A folder's path is a prefix of what lies in it, so plain sorting puts it first, as the kernel needs.
  const sorted = [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  const chunks: Buffer[] = [];
  sorted.forEach((entry, index) => {
    const content =
      entry.kind === 'file' ? entry.data : entry.kind === 'symlink' ? Buffer.from(entry.target) : empty;
    const mode = entry.kind === 'symlink' ? defaultMode.symlink : (entry.mode ?? defaultMode[entry.kind]);
    chunks.push(header(entry.path, index + 1, fileType[entry.kind] | mode, content.length), padded(content));
  });
  chunks.push(header(trailerName, 0, 0, 0));
  return Buffer.concat(chunks);
}

const empty = new Uint8Array(0);

function header(path: string, inode: number, mode: number, sizeBytes: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  const links = (mode & 0o170000) === fileType.directory ? 2 : 1;
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [inode, mode, 0, 0, links, 0, sizeBytes, 0, 0, 0, 0, name.length, 0];
  const digits = fields.map((field) => field.toString(16).toUpperCase().padStart(8, '0')).join('');
  return padded(Buffer.concat([Buffer.from(`070701${digits}`), name]));
}

/** Header with name, and content, each end on a multiple of four bytes. */
function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes], bytes.length + ((4 - (bytes.length % 4)) % 4));
}
