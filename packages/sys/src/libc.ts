/**
 * Foreign functions of glibc, declared on first use.
 *
 * Variadic functions (ioctl, fcntl) are declared with the fixed arguments that a call needs: on x86-64 the
 * calling convention of System V passes integers and pointers alike in both cases.
 *
 * Memory whose address is stored inside another structure must outlive the call, so such structures live
 * in module-level buffers (see `scm.ts`).
 */

import { SysError } from './error.ts';
import { type Koffi, koffi } from './koffi.ts';

// Any argument that koffi converts: numbers, bigints, strings, Buffers for pointers, null, arrays of strings.
// biome-ignore lint/suspicious/noExplicitAny: a foreign call has no static types; each call site is one line
type Foreign = (...args: any[]) => any;

let library: ReturnType<Koffi['load']> | undefined;

/** Declares a C function of libc; the symbol is looked up at the first call. */
export function libc(prototype: string): Foreign {
  let resolved: Foreign | undefined;
  return (...args) => {
    if (resolved === undefined) {
      library ??= koffi().load('libc.so.6');
      resolved = library.func(prototype) as Foreign;
    }
    return resolved(...args);
  };
}

/** The errno of the foreign call just made; read it before anything else happens. */
export function lastErrno(): number {
  return koffi().errno();
}

/**
 * Passes a result on, or throws what errno says when it is -1.
 * @throws SysError
 */
export function check(result: number, syscall: string, subject: string): number {
  if (result === -1) throw new SysError(koffi().errno(), syscall, subject);
  return result;
}
