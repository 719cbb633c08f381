/** What a VM takes of its host, from the mappings of its QEMU (proc(5), /proc/PID/smaps). */
import { readFile } from 'node:fs/promises';

export const mappingKinds = [
  'guest RAM',
  'root image',
  'translated code',
  'QEMU, files',
  'QEMU, own',
] as const;
export type MappingKind = (typeof mappingKinds)[number];

export interface MappingMemory {
  readonly kind: MappingKind;
  readonly residentBytes: number;
  /** A page that n processes map counts as a nth. */
  readonly proportionalBytes: number;
}

export async function hostMemory(pid: number, rootPath: string | undefined): Promise<MappingMemory[]> {
  return parseSmaps(await readFile(`/proc/${pid}/smaps`, 'utf8'), rootPath);
}

export function parseSmaps(smaps: string, rootPath: string | undefined): MappingMemory[] {
  const sums = new Map<MappingKind, { residentBytes: number; proportionalBytes: number }>(
    mappingKinds.map((kind) => [kind, { residentBytes: 0, proportionalBytes: 0 }]),
  );
  let sum = sums.get('QEMU, own');
  for (const line of smaps.split('\n')) {
    const head = /^[0-9a-f]+-[0-9a-f]+ (\S{4}) \S+ \S+ \d+\s*(.*)$/.exec(line);
    if (head !== null) {
      sum = sums.get(kindOf(head[1] ?? '', head[2] ?? '', rootPath));
      continue;
    }
    const [, name, kibibytes] = /^(Rss|Pss):\s+(\d+) kB$/.exec(line) ?? [];
    if (sum === undefined || name === undefined) continue;
    sum[name === 'Rss' ? 'residentBytes' : 'proportionalBytes'] += Number(kibibytes) * 1024;
  }
  return [...sums].map(([kind, bytes]) => ({ kind, ...bytes }));
}

function kindOf(permissions: string, path: string, rootPath: string | undefined): MappingKind {
  if (path.startsWith('/memfd:memory-backend')) return 'guest RAM';
  if (path === rootPath) return 'root image';
  if (path.startsWith('/') && !path.startsWith('/memfd:')) return 'QEMU, files';
  // TCG writes what it translates and runs it: no other mapping without a file may be run, but the kernel's.
  if (permissions.includes('x') && !path.startsWith('[')) return 'translated code';
  return 'QEMU, own';
}
