/** What a container sees of the options it was run with. Docker and Podman have the same ones for these. */
import type { Look } from './oracle.ts';

/** cgroup v1 names a limit differently from v2, which the guest has: a look at either. */
const eitherOf = (v1: string, v2: string) => `cd /sys/fs/cgroup; cat ${v1} 2>/dev/null || cat ${v2}`;

/** A container as engines run them when nobody says anything. */
export const plain: readonly Look[] = [
  ['user and groups', '', 'id'],
  ['capabilities', '', 'grep ^Cap /proc/self/status'],
  ['seccomp is on', '', 'grep ^Seccomp: /proc/self/status; unshare -m true'],
  ['pid 1', '', 'cat /proc/1/comm; ps -o pid,args | head -2'],
  // A kernel without /proc/kcore, such as this host's may be, has no link to it.
  ['devices', '', "stat -c '%n %F %a %u:%g %t:%T' /dev/* | grep -vE '/dev/(pts|core) '"],
  ['links in /dev', '', 'cd /dev; readlink fd stdin stdout stderr ptmx'],
  // cgroup v1 has mounts in there, and v2, which the guest has, none.
  [
    'where something is mounted',
    '',
    "awk '{ print $5 }' /proc/self/mountinfo | grep -v ^/sys/fs/cgroup/ | sort",
  ],
  ['masked paths', '', 'wc -c /proc/kcore /proc/keys /proc/timer_list; ls -A /proc/scsi /sys/firmware'],
  ['read-only paths', '', 'echo b > /proc/sysrq-trigger; touch /proc/sys/kernel/x /sys/x'],
  ['a writable root', '', 'touch /made && ls -ln /made | cut -c1-30'],
  ['no stdin', '', 'readlink /proc/self/fd/0; wc -c'],
  ['no other descriptors', '', 'ls /proc/$$/fd'],
  ['umask', '', 'umask'],
  ['environment', '', 'env | grep -v ^SCRIPT= | sort'],
  ['a session of its own', '', "awk '{ print $5, $6 }' /proc/1/stat"],
  // The C library's own signals, 32 and 33, are ignored with runc where whoever started the engine ignores them.
  [
    'signals are as they should be',
    '',
    'grep -E "^Sig(Blk|Cgt)" /proc/1/status; echo $(( 0x$(sed -n "s/^SigIgn:.//p" /proc/1/status) & 0x7fffffff ))',
  ],
];

/** What can be asked for at the same time. */
export const confined: readonly Look[] = [
  ['--user, --group-add', '-u 1000:2000 --group-add 3000', 'id'],
  ['--cap-drop, --cap-add', '--cap-drop=NET_RAW --cap-add=SYS_TIME', 'grep ^Cap /proc/self/status'],
  ['no-new-privileges', '--security-opt=no-new-privileges', 'grep ^NoNewPrivs /proc/self/status'],
  ['--read-only', '--read-only', 'touch /made; touch /dev/shm/made && echo in /dev/shm'],
  [
    '--ulimit',
    // Not a lower soft limit of files, of which runc sometimes makes the hard one: its Go runtime raises its own.
    '--ulimit=nofile=200:200 --ulimit=core=0:4096 --ulimit=nproc=500:500',
    'ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc',
  ],
  [
    '--tmpfs',
    '--tmpfs=/t:size=1m,mode=1777',
    'df -k /t | tail -n 1; stat -c %a /t; dd if=/dev/zero of=/t/x bs=1k count=1025',
  ],
  ['--shm-size', '--shm-size=32m', "df -k /dev/shm | awk 'NR == 2 { print $2 }'; stat -c %a /dev/shm"],
  ['--hostname', '--hostname=within', 'hostname; cat /etc/hostname; grep -c within /etc/hosts'],
  ['--env', '-e A=b -e EMPTY= -e "SPACE=a b"', 'env | grep -E "^(A|EMPTY|SPACE)="'],
  ['--workdir', '-w /etc', 'pwd'],
  [
    '--sysctl',
    '--sysctl=net.ipv4.ip_forward=1 --sysctl=kernel.msgmax=4096',
    'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax',
  ],
  ['--oom-score-adj', '--oom-score-adj=100', 'cat /proc/self/oom_score_adj'],
  ['--memory', '--memory=96m', eitherOf('memory/memory.limit_in_bytes', 'memory.max')],
  ['--cpus', '--cpus=0.5', `${eitherOf('cpu/cpu.cfs_quota_us', 'cpu.max')} | cut -d" " -f1`],
  ['--pids-limit', '--pids-limit=50', eitherOf('pids/pids.max', 'pids.max')],
];

/**
 * With all capabilities and an init. runc gives a container no more capabilities than the host has, and a machine of
 * CI lacks some; the guest has all that the engine names.
 */
export const privileged: readonly (readonly [...Look, RegExp])[] = [
  ['--privileged', '--privileged', 'grep ^CapEff /proc/self/status', /0000003fffffffff/],
  ['no seccomp', '', 'grep ^Seccomp: /proc/self/status; unshare -m true', /:\t0\nended with 0/],
  ['may mount', '', 'mkdir /t && mount -t tmpfs none /t && grep -c " /t " /proc/self/mounts', /^1\n/],
  [
    'nothing is masked or read-only',
    '',
    'sysctl -w kernel.domainname=x; grep -cE " /proc/(sys|kcore) " /proc/self/mounts',
    /= x\n0\n/,
  ],
  ['--init', '--init', 'cat /proc/1/comm', /^docker-init|^tini|^catatonit|^init/],
];
