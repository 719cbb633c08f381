/**
 * How host folders reach the guest: one virtiofsd for each tag, started in a private mount namespace
 * (unshare(1)). There a small read-only tmpfs lies on DIR/share-<tag> and each wanted folder or file
 * is bind-mounted below it, so the host's own mount table never changes, and all of it is gone with
 * the last process in the namespace, however that one ends.
 *
 * virtiofsd sandboxes itself in a further namespace, a slave of ours, whose root is the share. The
 * share is a shared mount and descriptor 9 keeps our namespace alive and findable, so binds can be
 * added to a running VM, as to one that has waited in a pool (`bindInto`). virtiofsd's own view stays read-only.
 */
import { statSync } from 'node:fs';
import { isAbsolute, normalize } from 'node:path';
import { VmError } from './errors.ts';

/** One host folder or file as seen by the guest. */
export interface ShareBind {
  /** Path below the share, such as `web/rootfs`. Names do not nest: none is a parent of another. */
  readonly name: string;
  /** Absolute path on the host; mounts below it come along. */
  readonly source: string;
  /** For all mounts below `source` too. */
  readonly readonly?: boolean;
}

const tagPattern = /^[A-Za-z0-9_-]{1,31}$/;

/** @throws VmError `bad-spec`. The tag also has to fit virtio-fs (36 bytes) and virtio-9p (31). */
export function checkShare(tag: string, binds: readonly ShareBind[]): void {
  if (!tagPattern.test(tag)) {
    throw new VmError('bad-spec', `the share tag ${JSON.stringify(tag)} is not 1 to 31 of A-Z a-z 0-9 - _`);
  }
  const names = binds.map((bind) => bind.name);
  for (const { name, source } of binds) {
    const plain = name !== '' && !isAbsolute(name) && !name.includes('\0') && normalize(name) === name;
    if (!plain || name === '.' || name.endsWith('/') || name.split('/').includes('..')) {
      throw new VmError(
        'bad-spec',
        `share ${tag}: the name ${JSON.stringify(name)} is not a plain relative path`,
      );
    }
    if (names.filter((other) => other === name).length > 1) {
      throw new VmError('bad-spec', `share ${tag}: two binds are called ${name}`);
    }
    if (names.some((other) => other.startsWith(`${name}/`))) {
      throw new VmError('bad-spec', `share ${tag}: another bind lies below ${name}`);
    }
    if (!isAbsolute(source)) {
      throw new VmError('bad-spec', `share ${tag}: the source ${source} of ${name} is not an absolute path`);
    }
  }
}

/**
 * Arguments: SHARE, then `KIND MODE SOURCE NAME` for each bind, then `--` and the command to become.
 *
 * Writable binds stay slaves of the host, so that what the host unmounts goes away here too; read-only
 * ones are cut off, or a later mount on the host would appear writable below them. Bind mounts take
 * `ro` one by one (mount(8)), hence the walk through mountinfo, which keeps nosuid and its like;
 * mountinfo writes spaces in octal, which printf turns back.
 */
const bindLoop = `
while [ "$1" != -- ]; do
  kind=$1; mode=$2; source=$3; target=$share/$4; shift 4
  if [ "$kind" = directory ]; then mkdir -p -- "$target"
  else mkdir -p -- "\${target%/*}"; : >"$target"; fi
  if [ "$mode" = rw ]; then mount -n -i --rbind --make-rslave -- "$source" "$target"
  else
    mount -n -i --rbind --make-rprivate -- "$source" "$target"
    while read -r _ _ _ _ escaped options _; do
      point=$(printf "$(printf %s "$escaped" | sed 's/%/%%/g')")
      case $point in "$target"|"$target"/*)
        mount -n -i -o "remount,bind,ro\${options#r[wo]}" -- "$point";;
      esac
    done </proc/self/mountinfo
  fi
done
shift
mount -n -i -o remount,bind,ro,nosuid,nodev "$share"
`;

const mountScript = `
set -eu
share=$1; shift
mount -n -i -t tmpfs -o size=1m,mode=0755,nosuid,nodev coracle "$share"
mount -n -i --make-shared "$share"
${bindLoop}
exec 9</proc/self/ns/mnt
exec "$@"
`;

const addScript = `
set -eu
share=$1; shift
mount -n -i -o remount,bind,rw,nosuid,nodev "$share"
${bindLoop}
`;

/** What to run for one share, as data. `file` is unshare(1), which becomes sh, which becomes virtiofsd. */
export interface ShareCommand {
  readonly file: string;
  readonly args: readonly string[];
}

/** @throws VmError `bad-spec` when a source is missing, naming it. */
export function bindArguments(tag: string, binds: readonly ShareBind[]): string[] {
  return binds.flatMap(({ name, source, readonly }) => {
    let isDirectory: boolean;
    try {
      isDirectory = statSync(source).isDirectory();
    } catch (cause) {
      throw new VmError('bad-spec', `share ${tag}: cannot read ${source}: ${(cause as Error).message}`, {
        cause,
      });
    }
    return [isDirectory ? 'directory' : 'file', readonly === true ? 'ro' : 'rw', source, name];
  });
}

export function inPrivateMounts(
  shareDirectory: string,
  binds: readonly string[],
  command: readonly string[],
): ShareCommand {
  return {
    file: 'unshare',
    args: [
      '--mount',
      '--propagation',
      'slave',
      'sh',
      '-c',
      mountScript,
      'sh',
      shareDirectory,
      ...binds,
      '--',
      ...command,
    ],
  };
}

/** Adds binds to the share of a virtiofsd that runs: what is to be run for that. */
export function bindInto(
  virtiofsdPid: number,
  shareDirectory: string,
  binds: readonly string[],
): ShareCommand {
  return {
    file: 'nsenter',
    args: [`--mount=/proc/${virtiofsdPid}/fd/9`, 'sh', '-c', addScript, 'sh', shareDirectory, ...binds, '--'],
  };
}

/**
 * Options of the virtiofsd that QEMU 7.2 brings (docs/tools/virtiofsd.rst there).
 *
 * - cache=always with timeout=1: the guest keeps names and attributes for a second, and data until it sees
 *   another size or time of change. `auto` drops a file's data each time it is opened, so every exec
 *   reads its libraries again (an exec of /bin/true took 250 ms instead of 165). `none` would forbid
 *   shared writable mappings, on which databases and linkers rely. A virtiofsd that knows no timeout (the one in
 *   Rust) gets `auto`: its `always` would never show the guest what the host changes (logs, config maps).
 * - announce_submounts: a mount below the share gets its own device number in the guest. Otherwise
 *   inode numbers of different host file systems collide, and tar and cp take files for hard links.
 * - xattr: file capabilities in container roots. Not posix_acl, flock, posix_lock: locks stay within
 *   the guest, where all processes of a pod are.
 */
export function virtiofsdArguments(
  socketPath: string,
  shareDirectory: string,
  { maxOpenFiles, takesTimeout }: { maxOpenFiles: number; takesTimeout: boolean },
): string[] {
  return [
    `--socket-path=${socketPath}`,
    ...['-o', `source=${shareDirectory}`],
    ...['-o', 'sandbox=namespace'],
    ...['-o', takesTimeout ? 'cache=always,timeout=1' : 'cache=auto'],
    ...['-o', 'announce_submounts'],
    ...['-o', 'xattr'],
    ...['-o', 'log_level=warn'],
    `--rlimit-nofile=${maxOpenFiles}`,
  ];
}
