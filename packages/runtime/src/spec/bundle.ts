/** Reading a bundle (bundle.md of the OCI runtime specification), and everything wrong with one. */
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { parseJson } from '@coracle/client';
import { CliError, errnoCode, messageOf } from '../cli/errors.ts';
import { jsonError } from '../cli/json-error.ts';
import { type Json, ShapeError } from './shape.ts';
import { type MountSpec, type ProcessSpec, processShape, type Spec, specShape } from './spec.ts';

export interface Bundle {
  /** Absolute. */
  readonly directory: string;
  /** config.json as it stands: fields that we do not know reach the agent. */
  readonly configText: string;
  readonly spec: Spec;
  /** Absolute path of the root file system, an existing folder. */
  readonly rootfs: string;
  readonly binds: readonly BindMount[];
}

/** A mount of the container whose source is on the host. */
export interface BindMount {
  /** Index into config.json's mounts. */
  readonly mount: number;
  /** Absolute; exists. */
  readonly source: string;
  readonly readonly: boolean;
}

/** @throws CliError that names the file and the field, or the line and column */
export function readBundle(directory: string): Bundle {
  const folder = resolve(directory);
  if (statOf(folder, 'cannot use the bundle')?.isDirectory() !== true) {
    throw new CliError(`cannot use the bundle ${folder}: it is not a folder`);
  }
  const path = join(folder, 'config.json');
  const configText = readConfig(path, folder);
  const spec = parse(configText, path, specShape) as unknown as Spec;
  if (!/^1\.\d+\.\d+/.test(spec.ociVersion)) {
    throw new CliError(`${path}: ociVersion ${JSON.stringify(spec.ociVersion)} is not supported; 1.x.y is`);
  }
  const rootfs = resolve(folder, spec.root.path);
  if (statOf(rootfs, `invalid rootfs: root.path of ${path}`)?.isDirectory() !== true) {
    throw new CliError(`invalid rootfs: root.path of ${path}: ${rootfs} is not a folder`);
  }
  return { directory: folder, configText, spec, rootfs, binds: bindMounts(spec, folder, path) };
}

/** The process of a bundle whose container is there already: what `exec` starts from. */
export function readBundleProcess(directory: string): ProcessSpec {
  const path = join(directory, 'config.json');
  const spec = parse(readConfig(path, directory), path, specShape, parseJson) as unknown as Spec;
  return spec.process;
}

/** @throws CliError */
export function readProcessFile(path: string): ProcessSpec {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new CliError(`cannot read the process file ${path}: ${messageOf(cause)}`, { cause });
  }
  return checkProcess(parse(text, path, processShape, parseJson) as unknown as ProcessSpec, path);
}

/** @throws CliError naming the field; for a process that was put together from flags */
export function checkProcess(process: ProcessSpec, origin: string): ProcessSpec {
  try {
    processShape(process as unknown as Json, 'process');
  } catch (error) {
    if (error instanceof ShapeError) throw new CliError(`${origin}: ${error.message}`);
    throw error;
  }
  return process;
}

function readConfig(path: string, folder: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (errnoCode(cause) !== 'ENOENT') {
      throw new CliError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
    }
    throw new CliError(
      `JSON specification file config.json not found in the bundle ${folder}; ` +
        'make one with coracle spec, or name another bundle with --bundle',
      { cause },
    );
  }
}

/** `read` is parseJson for what is only handed on: there, large numbers must stay as they are. */
function parse(
  text: string,
  path: string,
  shape: (value: Json, at: string) => void,
  read: (text: string) => unknown = JSON.parse,
): Json {
  let value: Json;
  try {
    value = read(text) as Json;
  } catch (error) {
    throw new CliError(`${path} is not JSON: ${jsonError(text, error as SyntaxError)}`);
  }
  try {
    shape(value, '');
    return value;
  } catch (error) {
    if (error instanceof ShapeError) throw new CliError(`${path}: ${error.message}`);
    throw error;
  }
}

function statOf(path: string, what: string) {
  try {
    return statSync(path);
  } catch (cause) {
    throw new CliError(`${what}: ${path}: ${messageOf(cause)}`, { cause });
  }
}

const isBind = ({ type, options = [] }: MountSpec) =>
  type === 'bind' || options.includes('bind') || options.includes('rbind');

function bindMounts(spec: Spec, folder: string, path: string): BindMount[] {
  return (spec.mounts ?? []).flatMap((mount, i) => {
    if (!isBind(mount)) return [];
    const { source, options = [] } = mount;
    if (source === undefined || source === '') {
      throw new CliError(`${path}: mounts[${i}] (${mount.destination}) is a bind mount without a source`);
    }
    const absolute = isAbsolute(source) ? resolve(source) : resolve(folder, source);
    statOf(absolute, `${path}: the source of mounts[${i}] (${mount.destination})`);
    return [{ mount: i, source: absolute, readonly: options.includes('ro') || options.includes('rro') }];
  });
}
