/** linux.cgroupsPath (runtime-spec config-linux.md, "Cgroups Path") as a path below the hierarchies of this host. */
import { posix } from 'node:path';
import { CliError } from '../cli/errors.ts';

export interface PathOptions {
  /** --systemd-cgroup: the path is `slice:prefix:name`. */
  readonly systemd: boolean;
  /** Names the cgroup when config.json does not. */
  readonly sandboxId: string;
}

/**
 * @returns an absolute path without `..`
 * @throws CliError for a path that is none
 */
export function hostCgroupPath(cgroupsPath: string | undefined, { systemd, sandboxId }: PathOptions): string {
  if (cgroupsPath === undefined || cgroupsPath === '') return `/coracle/${sandboxId}`;
  if (cgroupsPath.includes('\0')) throw new CliError('linux.cgroupsPath must not have a NUL byte');
  if (systemd) return systemdPath(cgroupsPath);
  // Where a relative one begins is the runtime's to say.
  const path = posix.normalize(cgroupsPath.startsWith('/') ? cgroupsPath : `/coracle/${cgroupsPath}`);
  if (path !== '/') return path;
  throw new CliError(`linux.cgroupsPath ${JSON.stringify(cgroupsPath)} is the root, which is no container's`);
}

/** As systemd itself lays slices and scopes out (systemd.slice(5)): each dash of a slice's name is a level. */
function systemdPath(text: string): string {
  const [slice = '', prefix = '', name = '', ...rest] = text.split(':');
  if (rest.length > 0 || name === '') {
    throw new CliError(
      `linux.cgroupsPath ${JSON.stringify(text)} is not of the form slice:prefix:name, which --systemd-cgroup asks for`,
    );
  }
  const unit = name.endsWith('.slice') ? name : `${prefix === '' ? '' : `${prefix}-`}${name}.scope`;
  for (const part of [slice, unit]) {
    if (!part.includes('/') && part !== '..') continue;
    throw new CliError(
      `linux.cgroupsPath ${JSON.stringify(text)}: ${JSON.stringify(part)} is no unit's name`,
    );
  }
  return posix.join('/', ...sliceFolders(slice === '' ? 'system.slice' : slice), unit);
}

/** `a-b.slice` is in `a.slice`; `-.slice` is the root. */
function sliceFolders(slice: string): string[] {
  if (!/^(-|[^-]+(-[^-]+)*)\.slice$/.test(slice)) {
    throw new CliError(
      `linux.cgroupsPath names the slice ${JSON.stringify(slice)}, which is no slice's name`,
    );
  }
  const name = slice.slice(0, -'.slice'.length);
  if (name === '-') return [];
  const words = name.split('-');
  return words.map((_, i) => `${words.slice(0, i + 1).join('-')}.slice`);
}
