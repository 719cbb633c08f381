/**
 * The features document (runtime-spec features.md, features-linux.md): what of config.json is understood. What is applied in
 * the guest is crun's (1.8.1 there: src/libcrun/mount_flags.c, seccomp.c), on a kernel of 6.1 or newer.
 */
import { ociVersion, version } from '../cli/version.ts';

const hooks = ['prestart', 'createRuntime', 'startContainer', 'poststart', 'poststop'];

/** Each of them has a recursive form with an `r` in front. */
const attributes = [
  ...['async', 'atime', 'dev', 'diratime', 'dirsync', 'exec', 'mand', 'noatime', 'nodev', 'nodiratime'],
  ...['noexec', 'nomand', 'norelatime', 'nostrictatime', 'nosuid', 'relatime', 'ro', 'rw', 'strictatime'],
  ...['suid', 'sync'],
];
const propagations = ['private', 'shared', 'slave', 'unbindable'];
const mountOptions = [
  ...['bind', 'rbind', 'defaults', 'remount', 'tmpcopyup'],
  ...attributes,
  ...attributes.map((name) => `r${name}`),
  ...propagations,
  ...propagations.map((name) => `r${name}`),
].sort();

/** capability.h of Linux 5.9 to 6.12. */
const capabilities = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...[
    'LINUX_IMMUTABLE',
    'NET_BIND_SERVICE',
    'NET_BROADCAST',
    'NET_ADMIN',
    'NET_RAW',
    'IPC_LOCK',
    'IPC_OWNER',
  ],
  ...[
    'SYS_MODULE',
    'SYS_RAWIO',
    'SYS_CHROOT',
    'SYS_PTRACE',
    'SYS_PACCT',
    'SYS_ADMIN',
    'SYS_BOOT',
    'SYS_NICE',
  ],
  ...['SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE', 'AUDIT_WRITE', 'AUDIT_CONTROL'],
  ...['SETFCAP', 'MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ'],
  ...['PERFMON', 'BPF', 'CHECKPOINT_RESTORE'],
].map((name) => `CAP_${name}`);

const seccompArchitectures = [
  ...['AARCH64', 'ARM', 'MIPS', 'MIPS64', 'MIPS64N32', 'MIPSEL', 'MIPSEL64', 'MIPSEL64N32', 'PPC', 'PPC64'],
  ...['PPC64LE', 'RISCV64', 'S390', 'S390X', 'X32', 'X86', 'X86_64'],
].map((name) => `SCMP_ARCH_${name}`);

export function features(): object {
  return {
    ociVersionMin: '1.0.0',
    ociVersionMax: ociVersion,
    hooks,
    mountOptions,
    linux: {
      namespaces: ['cgroup', 'ipc', 'mount', 'network', 'pid', 'time', 'user', 'uts'],
      capabilities,
      // Of this host, where the VM is; containers see v2 in any case. With systemd, paths are translated.
      cgroup: { v1: true, v2: true, systemd: false, systemdUser: false, rdma: false },
      seccomp: {
        enabled: true,
        // Not SCMP_ACT_NOTIFY: its listener would be a process of the host.
        actions: ['ALLOW', 'ERRNO', 'KILL', 'KILL_PROCESS', 'KILL_THREAD', 'LOG', 'TRACE', 'TRAP'].map(
          (name) => `SCMP_ACT_${name}`,
        ),
        operators: ['EQ', 'GE', 'GT', 'LE', 'LT', 'MASKED_EQ', 'NE'].map((name) => `SCMP_CMP_${name}`),
        archs: seccompArchitectures,
        knownFlags: [
          'SECCOMP_FILTER_FLAG_LOG',
          'SECCOMP_FILTER_FLAG_SPEC_ALLOW',
          'SECCOMP_FILTER_FLAG_TSYNC',
        ],
        supportedFlags: [
          'SECCOMP_FILTER_FLAG_LOG',
          'SECCOMP_FILTER_FLAG_SPEC_ALLOW',
          'SECCOMP_FILTER_FLAG_TSYNC',
        ],
      },
      apparmor: { enabled: false },
      selinux: { enabled: false },
      intelRdt: { enabled: false },
      mountExtensions: { idmap: { enabled: false } },
    },
    annotations: { 'dev.coracle.version': version },
  };
}
