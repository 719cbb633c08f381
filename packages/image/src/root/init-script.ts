import { agentInitPath, bootFailedWord, bootLinePrefix, nodePath, rootDiskSerial } from '../boot-protocol.ts';

/**
 * The initramfs's /init: a script for busybox, which starts in milliseconds. It never waits for a person: what
 * fails is said on the console and the machine is switched off (QEMU runs with -no-reboot).
 *
 * Every external command is a fork and an exec, 5 to 10 ms each under emulation. So one modprobe loads all modules,
 * in the order given (in its modules.dep those have no dependencies, for the builder has resolved them) and with them
 * those that `coracle.modules=` asks for, and the loop over the disks uses shell built-ins only. Node's start faults
 * most of its program in: large reads ahead save it hundreds of requests.
 *
 * @param modules names, in loading order; the initramfs has them in modprobe's folder
 */
export function initScript(modules: readonly string[], filesystem: 'erofs' | 'ext4'): string {
  return `#!/bin/busybox sh
say() { echo "${bootLinePrefix}$1"; }
fail() { say "${bootFailedWord}$1"; /bin/busybox poweroff -f; }

/bin/busybox mount -t devtmpfs -o nosuid devtmpfs /dev || fail 'cannot mount /dev'
/bin/busybox mount -t proc -o nosuid,nodev,noexec proc /proc || fail 'cannot mount /proc'
/bin/busybox mount -t sysfs -o nosuid,nodev,noexec sysfs /sys || fail 'cannot mount /sys'
say initrd

say modules
requested=
read -r line < /proc/cmdline
for word in $line; do
  case $word in coracle.modules=*) requested=$requested\${word#*=},;; esac
done
${loadModules(modules)}

say root
find_root() {
  for block in /sys/block/vd*; do
    serial=
    read -r serial < "$block/serial"
    [ "$serial" = ${rootDiskSerial} ] || continue
    disk=/dev/\${block##*/}
    echo 2048 > "$block/queue/read_ahead_kb"
    return 0
  done 2>/dev/null
  return 1
}
tries=0
until find_root; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || fail 'there is no disk with the serial number ${rootDiskSerial}'
  /bin/busybox usleep 10000
done
/bin/busybox mount -t ${filesystem} -o ro "$disk" /root || fail "cannot mount the root filesystem on $disk"
[ -x /root${nodePath} ] && [ -x /root${agentInitPath} ] || fail 'the root filesystem has no node or no agent'
for tree in /dev /proc /sys; do
  /bin/busybox mount --move $tree /root$tree || fail "cannot move $tree into the root filesystem"
done

say agent
cd /root
export PATH=/usr/bin
exec /bin/busybox switch_root /root ${agentInitPath}
fail 'cannot start the agent'
`;
}

function loadModules(names: readonly string[]): string {
  return `set -- ${names.join(' ')}
IFS=,
[ -z "$*$requested" ] || /bin/busybox modprobe -a "$@" $requested || fail "cannot load the kernel modules $requested"
unset IFS`;
}
