/**
 * A port of an address that stands for another one, for the programs of one cgroup: what connects or sends to it reaches the
 * other, and what comes back seems to come from it. The port itself stays free, so that a program may listen there on all
 * addresses. Four programs for the kernel, at the hooks of the socket calls (bpf(2), linux/bpf.h); no packet filter.
 */
import { closeSync, openSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { koffi } from './koffi.ts';
import { check, libc } from './libc.ts';

const cSyscall = libc('long syscall(long number, long command, void *attributes, size_t size)');
/** asm/unistd_64.h */
const SYS_bpf = 321;
const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_DETACH = 9;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18;
/** Others may attach theirs, below and beside. */
const BPF_F_ALLOW_MULTI = 2;

/** enum bpf_attach_type. Towards the address: connect(2), and sendto(2) without it. */
const FORTH = { connect4: 10, udp4Sendmsg: 14 };
/** From it: recvfrom(2), and getpeername(2). */
const BACK = { udp4Recvmsg: 19, inet4Getpeername: 29 };

/** struct bpf_sock_addr, which register 1 points to: u32 user_ip4 and u32 user_port, both in network order. */
const USER_IP4 = 4;
const USER_PORT = 24;

/** Until it is disposed of, or the cgroup is removed. */
export class PortAlias implements Disposable {
  readonly #cgroup: number;
  readonly #programs: { readonly fd: number; readonly hook: number }[] = [];

  /**
   * @param cgroup a folder of a cgroup v2 hierarchy; all below it is meant, too
   * @throws SysError ENOSYS or EINVAL from a kernel without BPF for cgroups; EPERM
   */
  constructor(cgroup: string, alias: { address: string; port: number; target: number }) {
    const { address, port, target } = alias;
    if (!isIPv4(address)) throw new SysError(constants.errno.EINVAL, 'bpf', `${address} (no IPv4 address)`);
    this.#cgroup = openSync(cgroup, 'r');
    try {
      for (const hook of Object.values(FORTH)) this.#attach(hook, changePort(address, port, target));
      for (const hook of Object.values(BACK)) this.#attach(hook, changePort(address, target, port));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #attach(hook: number, instructions: Buffer): void {
    const fd = load(instructions, hook);
    this.#programs.push({ fd, hook });
    bpf(BPF_PROG_ATTACH, attachment(this.#cgroup, fd, hook, BPF_F_ALLOW_MULTI), `attach hook ${hook}`);
  }

  [Symbol.dispose](): void {
    for (const { fd, hook } of this.#programs.splice(0)) {
      try {
        bpf(BPF_PROG_DETACH, attachment(this.#cgroup, fd, hook, 0), `detach hook ${hook}`);
      } catch {
        // It was never attached, or its cgroup is gone.
      }
      close(fd);
    }
    closeSync(this.#cgroup);
  }
}

function bpf(command: number, attributes: Buffer, what: string): number {
  return check(Number(cSyscall(SYS_bpf, command, attributes, attributes.length)), 'bpf', what);
}

/** What the kernel reads while it loads, at addresses that stay. */
const license = Buffer.from('Apache-2.0\0');

/** union bpf_attr of BPF_PROG_LOAD, up to expected_attach_type. */
function load(instructions: Buffer, hook: number): number {
  const attributes = Buffer.alloc(72);
  attributes.writeUInt32LE(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 0);
  attributes.writeUInt32LE(instructions.length / INSTRUCTION_BYTES, 4);
  attributes.writeBigUInt64LE(koffi().address(instructions), 8);
  attributes.writeBigUInt64LE(koffi().address(license), 16);
  attributes.writeUInt32LE(hook, 68);
  return bpf(BPF_PROG_LOAD, attributes, `load for hook ${hook}`);
}

/** union bpf_attr of BPF_PROG_ATTACH: u32 target_fd, attach_bpf_fd, attach_type, attach_flags. */
function attachment(cgroup: number, program: number, hook: number, flags: number): Buffer {
  const attributes = Buffer.alloc(16);
  [cgroup, program, hook, flags].forEach((value, index) => void attributes.writeUInt32LE(value, 4 * index));
  return attributes;
}

/** if (user_ip4 == address && user_port == from) user_port = to; return 1 (go on). */
function changePort(address: string, from: number, to: number): Buffer {
  const ip = Buffer.from(address.split('.').map(Number)).readInt32LE();
  return Buffer.concat([
    instruction(LOAD_WORD, 2, 1, USER_IP4, 0),
    instruction(JUMP_UNLESS_EQUAL, 2, 0, 4, ip),
    instruction(LOAD_WORD, 2, 1, USER_PORT, 0),
    instruction(JUMP_UNLESS_EQUAL, 2, 0, 2, inNetworkOrder(from)),
    instruction(MOVE, 2, 0, 0, inNetworkOrder(to)),
    instruction(STORE_WORD, 1, 2, USER_PORT, 0),
    instruction(MOVE, 0, 0, 0, 1),
    instruction(EXIT, 0, 0, 0, 0),
  ]);
}

/** As the machine, which is little-endian, reads it. */
const inNetworkOrder = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

/** struct bpf_insn { u8 code; u8 destination:4, source:4; s16 offset; s32 immediate }; codes of 32 bits. */
const INSTRUCTION_BYTES = 8;
const LOAD_WORD = 0x61;
const STORE_WORD = 0x63;
const MOVE = 0xb4;
const JUMP_UNLESS_EQUAL = 0x56;
const EXIT = 0x95;

function instruction(
  code: number,
  destination: number,
  source: number,
  offset: number,
  immediate: number,
): Buffer {
  const bytes = Buffer.alloc(INSTRUCTION_BYTES);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8(destination | (source << 4), 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}
