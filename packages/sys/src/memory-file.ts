import { check, libc } from './libc.ts';

const cMemfdCreate = libc('int memfd_create(const char *name, unsigned int flags)');

/** linux/memfd.h */
const MFD_CLOEXEC = 1;

/** An empty file in memory, which is gone with its last descriptor (memfd_create(2)). @returns its descriptor */
export function createMemoryFile(name: string): number {
  return check(cMemfdCreate(name, MFD_CLOEXEC), 'memfd_create', name);
}
