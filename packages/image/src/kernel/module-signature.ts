/**
 * Debian signs its modules. The kernel checks a signature whenever there is one, 6 ms each under emulation, and
 * enforces none unless told to; what is in an image is pinned by the image's digest.
 */
const magic = Buffer.from('~Module signature appended~\n');
/** struct module_signature (include/linux/module_signature.h): eight bytes, then the signature's length. */
const trailerBytes = 12;

/** The module without the signature that follows it (Documentation/admin-guide/module-signing.rst). */
export function withoutSignature(module: Buffer): Buffer {
  const trailer = module.length - magic.length - trailerBytes;
  if (trailer < 0 || !module.subarray(trailer + trailerBytes).equals(magic)) return module;
  const end = trailer - module.readUInt32BE(trailer + 8);
  if (end <= 0) throw new RangeError('the length of the module signature is larger than the module');
  return module.subarray(0, end);
}
