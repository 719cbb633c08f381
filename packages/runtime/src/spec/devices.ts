/** Device nodes that mean inside a VM what they mean on the host (Linux Documentation/admin-guide/devices.txt). */

export interface DeviceNode {
  readonly type: string;
  readonly major: number;
  readonly minor: number;
}

const portable = new Set([
  'c 1:3', // null
  'c 1:5', // zero
  'c 1:7', // full
  'c 1:8', // random
  'c 1:9', // urandom
  'c 1:11', // kmsg: the guest's
  'c 5:0', // tty
  'c 5:1', // console
  'c 5:2', // ptmx
  'c 10:200', // net/tun
  'c 10:229', // fuse
]);

/** `u` is a character device, too (runtime-spec config-linux.md); a FIFO is everywhere the same. */
export function meansTheSameInVm({ type, major, minor }: DeviceNode): boolean {
  return type === 'p' || portable.has(`${type === 'u' ? 'c' : type} ${major}:${minor}`);
}
