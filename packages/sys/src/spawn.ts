/**
 * Starting processes with posix_spawn(3), which libuv knows nothing of: it never reaps them.
 *
 * The child gets the default action for every signal and an empty mask: Node ignores SIGPIPE, and whatever
 * this process ignores or blocks would otherwise reach the program. Descriptors not named are closed by
 * close-on-exec, which Node and this package set on all that they open. The kernel lets us go on a moment
 * before it closes them in the child (begin_new_exec in fs/exec.c), so a reader may see the end of a pipe, or a
 * port be free again, only microseconds after `spawn` has returned.
 */
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close, dup } from './fd.ts';
import { libc } from './libc.ts';

/** glibc's bits/types: both are opaque; sizes are those of x86-64 (80 and 336), given room to grow. */
const FILE_ACTIONS_BYTES = 128;
const ATTRIBUTES_BYTES = 512;
const SIGSET_BYTES = 128;

/** bits/spawn.h */
const POSIX_SPAWN_SETPGROUP = 0x02;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;

const O_RDWR = 2;

/** linux/personality.h */
const ADDR_NO_RANDOMIZE = 0x0040000;
const QUERY = 0xffff_ffff;

const cSpawn = libc(
  'int posix_spawn(void *pid, str path, void *actions, void *attributes, const char **argv, const char **envp)',
);
const cPersonality = libc('int personality(ulong persona)');
const cActionsInit = libc('int posix_spawn_file_actions_init(void *actions)');
const cActionsDestroy = libc('int posix_spawn_file_actions_destroy(void *actions)');
const cActionsDup2 = libc('int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)');
const cActionsOpen = libc(
  'int posix_spawn_file_actions_addopen(void *actions, int fd, str path, int flags, uint mode)',
);
const cActionsChdir = libc('int posix_spawn_file_actions_addchdir_np(void *actions, str path)');
const cAttrInit = libc('int posix_spawnattr_init(void *attributes)');
const cAttrDestroy = libc('int posix_spawnattr_destroy(void *attributes)');
const cAttrFlags = libc('int posix_spawnattr_setflags(void *attributes, short flags)');
const cAttrGroup = libc('int posix_spawnattr_setpgroup(void *attributes, int group)');
const cAttrDefault = libc('int posix_spawnattr_setsigdefault(void *attributes, void *signals)');
const cAttrMask = libc('int posix_spawnattr_setsigmask(void *attributes, void *signals)');

export interface SpawnOptions {
  /** Path of the program; no search along PATH. */
  readonly file: string;
  /** argv, the program's own name (argv[0]) included. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Which of our descriptors the child has under which number; it has no others. Ours stay open here. */
  readonly descriptors: Readonly<Record<number, number>>;
  /** Makes the child the leader of a new session (setsid). */
  readonly newSession?: boolean;
  /** Path of a terminal that becomes the child's 0, 1 and 2 and, with `newSession`, its controlling one. */
  readonly terminal?: string;
  /** The process group to join; 0 makes a new one. */
  readonly processGroup?: number;
  /** The program, and what it starts, lies at the same addresses each time, until somebody calls personality(2). */
  readonly fixedAddresses?: boolean;
}

// posix_spawn and its helpers return the error number, they do not set errno.
function must(errno: number, call: string, subject: string, hint?: string): void {
  if (errno !== 0) throw new SysError(errno, call, subject, hint);
}

function assertNoNul(options: SpawnOptions): void {
  const all = [options.file, options.cwd ?? '', ...options.args, ...Object.entries(options.env).flat()];
  if (all.some((text) => text.includes('\0'))) {
    throw new SysError(
      constants.errno.EINVAL,
      'posix_spawn',
      JSON.stringify(options.file),
      'an argument, variable or path has a NUL byte',
    );
  }
}

function fillActions(actions: Buffer, options: SpawnOptions, sources: ReadonlyMap<number, number>): void {
  for (const [target, source] of sources)
    must(cActionsDup2(actions, source, target), 'adddup2', `descriptor ${source}`);
  if (options.terminal !== undefined) {
    // The first terminal that a session leader opens becomes its controlling terminal (tty(4)).
    must(cActionsOpen(actions, 0, options.terminal, O_RDWR, 0), 'addopen', options.terminal);
    must(cActionsDup2(actions, 0, 1), 'adddup2', 'descriptor 0');
    must(cActionsDup2(actions, 0, 2), 'adddup2', 'descriptor 0');
  }
  if (options.cwd !== undefined) must(cActionsChdir(actions, options.cwd), 'addchdir', options.cwd);
}

function fillAttributes(attributes: Buffer, options: SpawnOptions): void {
  let flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
  if (options.newSession) flags |= POSIX_SPAWN_SETSID;
  if (options.processGroup !== undefined) {
    flags |= POSIX_SPAWN_SETPGROUP;
    cAttrGroup(attributes, options.processGroup);
  }
  cAttrDefault(attributes, Buffer.alloc(SIGSET_BYTES, 0xff));
  cAttrMask(attributes, Buffer.alloc(SIGSET_BYTES));
  cAttrFlags(attributes, flags);
}

/**
 * Starts a program and returns its pid. The caller reaps it (`reap`, `waitPid`).
 * @throws SysError 'ENOENT' (no such program, interpreter or cwd), 'EACCES' (not executable), 'ENOEXEC', 'EBADF'…
 */
export function spawn(options: SpawnOptions): number {
  assertNoNul(options);
  const wanted = Object.entries(options.descriptors).map(
    ([target, source]) => [Number(target), source] as const,
  );
  const firstFree = Math.max(2, ...wanted.map(([target]) => target)) + 1;
  const copies: number[] = [];
  const actions = Buffer.alloc(FILE_ACTIONS_BYTES);
  const attributes = Buffer.alloc(ATTRIBUTES_BYTES);
  const pid = Buffer.alloc(4);
  must(cActionsInit(actions), 'posix_spawn_file_actions_init', options.file);
  must(cAttrInit(attributes), 'posix_spawnattr_init', options.file);
  try {
    const sources = new Map<number, number>();
    for (const [target, source] of wanted) {
      // A source that is also some other entry's target would be overwritten before its turn.
      const clobbered = wanted.some(([other]) => other === source && other !== target);
      const from = clobbered ? dup(source, firstFree) : source;
      if (clobbered) copies.push(from);
      sources.set(target, from);
    }
    fillActions(actions, options, sources);
    fillAttributes(attributes, options);
    const env = Object.entries(options.env).map(([name, value]) => `${name}=${value}`);
    // Of this thread, and of what it starts.
    const before = options.fixedAddresses === true ? cPersonality(QUERY) : undefined;
    if (before !== undefined) cPersonality(before | ADDR_NO_RANDOMIZE);
    const errno = cSpawn(pid, options.file, actions, attributes, [...options.args, null], [...env, null]);
    if (before !== undefined) cPersonality(before);
    must(
      errno,
      'posix_spawn',
      options.file,
      options.cwd === undefined ? undefined : `working directory ${options.cwd}`,
    );
    return pid.readInt32LE(0);
  } finally {
    cActionsDestroy(actions);
    cAttrDestroy(attributes);
    for (const copy of copies) close(copy);
  }
}
