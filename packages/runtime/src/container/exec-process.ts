/** The process of `exec` from its flags, as runc puts it together: the container's own, with changes. */
import { UsageError } from '../cli/errors.ts';
import type { ProcessSpec } from '../spec/spec.ts';

export interface ExecFlags {
  readonly cwd?: string | undefined;
  readonly env?: readonly string[] | undefined;
  readonly tty?: boolean | undefined;
  readonly user?: string | undefined;
  readonly 'additional-gids'?: readonly string[] | undefined;
  readonly cap?: readonly string[] | undefined;
  readonly 'no-new-privs'?: boolean | undefined;
  readonly apparmor?: string | undefined;
  readonly 'process-label'?: string | undefined;
}

/** @throws UsageError */
export function execProcessSpec(base: ProcessSpec, args: readonly string[], flags: ExecFlags): ProcessSpec {
  const { consoleSize: _, ...own } = base;
  const caps = flags.cap ?? [];
  const more = (names: readonly string[] | undefined) => [...(names ?? []), ...caps];
  const user = { uid: 0, gid: 0, ...own.user, ...parseUser(flags.user) };
  const gids = (flags['additional-gids'] ?? []).map((gid) => parseId(gid, 'additional-gids'));
  return {
    ...own,
    args: [...args],
    env: [...(own.env ?? []), ...(flags.env ?? [])],
    cwd: flags.cwd || own.cwd,
    terminal: flags.tty === true,
    user: gids.length === 0 ? user : { ...user, additionalGids: [...(user.additionalGids ?? []), ...gids] },
    ...(flags['no-new-privs'] === undefined ? {} : { noNewPrivileges: flags['no-new-privs'] }),
    ...(flags.apparmor === undefined ? {} : { apparmorProfile: flags.apparmor }),
    ...(flags['process-label'] === undefined ? {} : { selinuxLabel: flags['process-label'] }),
    ...(caps.length === 0
      ? {}
      : {
          capabilities: {
            ...own.capabilities,
            bounding: more(own.capabilities?.bounding),
            effective: more(own.capabilities?.effective),
            permitted: more(own.capabilities?.permitted),
            ambient: more(own.capabilities?.ambient),
            inheritable: more(own.capabilities?.inheritable),
          },
        }),
  };
}

function parseUser(text: string | undefined): { uid?: number; gid?: number } {
  if (text === undefined || text === '') return {};
  const colon = text.indexOf(':');
  if (colon === -1) return { uid: parseId(text, 'user') };
  return { uid: parseId(text.slice(0, colon), 'user'), gid: parseId(text.slice(colon + 1), 'user') };
}

/** The largest uid_t; one more is "no change" for the kernel. */
const maxId = 2 ** 32 - 2;

function parseId(text: string, flag: string): number {
  const id = Number(text);
  if (/^\d+$/.test(text) && id <= maxId) return id;
  const hint =
    flag === 'user'
      ? 'give UID or UID:GID as numbers; names are unknown outside the container'
      : 'give a number';
  throw new UsageError(`--${flag} ${JSON.stringify(text)} is not a number from 0 to ${maxId}: ${hint}`);
}
