/**
 * As much of ELF (64 bit, little endian; see elf(5)) as an image needs: which shared libraries a program
 * names (DT_NEEDED), its interpreter, and the `.modinfo` section of a kernel module.
 */
const sectionHeaderOffset = 0x28;
const sectionTypeDynamic = 6;
const dynamicNeeded = 1n;
const machineX8664 = 62;

export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** ELF that the guest's loader may be asked to load: packages also hold code for other machines, as data. */
export function isGuestElf(bytes: Buffer): boolean {
  return isElf(bytes) && bytes[4] === 2 && bytes[5] === 1 && bytes.readUInt16LE(0x12) === machineX8664;
}

/** Sonames in the order in which the program names them; empty for a static program. */
export function neededLibraries(file: Buffer): string[] {
  const sections = readSections(file);
  const dynamic = sections.find((section) => section.type === sectionTypeDynamic);
  const strings = dynamic && sections[dynamic.link];
  if (!dynamic || !strings) return [];
  const needed: string[] = [];
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.size; at += 16) {
    if (file.readBigUInt64LE(at) !== dynamicNeeded) continue;
    needed.push(cString(file, strings.offset + Number(file.readBigUInt64LE(at + 8))));
  }
  return needed;
}

/** The program that the kernel starts first, such as /lib64/ld-linux-x86-64.so.2. */
export function interpreter(file: Buffer): string | undefined {
  const section = readSections(file).find((one) => one.name === '.interp');
  return section && cString(file, section.offset);
}

/** The `key=value` pairs of a kernel module, in file order; keys repeat (alias, softdep). */
export function moduleInfo(file: Buffer): [key: string, value: string][] {
  const section = readSections(file).find((one) => one.name === '.modinfo');
  if (!section) return [];
  const text = file.toString('latin1', section.offset, section.offset + section.size);
  return text
    .split('\0')
    .filter((pair) => pair.includes('='))
    .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);
}

interface Section {
  name: string;
  type: number;
  offset: number;
  size: number;
  link: number;
}

function readSections(file: Buffer): Section[] {
  if (!isElf(file) || file[4] !== 2 || file[5] !== 1)
    throw new RangeError('not a 64-bit little-endian ELF file');
  const start = Number(file.readBigUInt64LE(sectionHeaderOffset));
  const entrySize = file.readUInt16LE(0x3a);
  const count = file.readUInt16LE(0x3c);
  const namesIndex = file.readUInt16LE(0x3e);
  const headers = Array.from({ length: count }, (_, index) => {
    const at = start + index * entrySize;
    return {
      nameOffset: file.readUInt32LE(at),
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 0x18)),
      size: Number(file.readBigUInt64LE(at + 0x20)),
      link: file.readUInt32LE(at + 0x28),
    };
  });
  const names = headers[namesIndex];
  return headers.map(({ nameOffset, ...section }) => ({
    ...section,
    name: names ? cString(file, names.offset + nameOffset) : '',
  }));
}

function cString(file: Buffer, at: number): string {
  return file.toString('latin1', at, file.indexOf(0, at));
}
