/**
 * Docker's daemon.json with our runtime in it, and without. Only what changes is touched: all else keeps its text, to the
 * last space (https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file).
 */
import { basename } from 'node:path';
import { CliError } from '../cli/errors.ts';
import { jsonError } from '../cli/json-error.ts';
import { removeValue, setValue } from './json-edit.ts';

export interface RuntimeEntry {
  /** For `docker run --runtime`. */
  readonly name: string;
  /** Of the program, absolute. */
  readonly path: string;
}

interface DaemonJson {
  readonly runtimes?: Readonly<Record<string, { readonly path?: unknown }>>;
  readonly 'default-runtime'?: string;
}

/**
 * @param file for messages
 * @returns the new text, which is the old one when all is there
 * @throws CliError for a file that Docker cannot read either, and for a name that is somebody else's
 */
export function addRuntime(
  text: string,
  file: string,
  { name, path }: RuntimeEntry,
  makeDefault: boolean,
): string {
  const config = parse(text, file);
  const present = config.runtimes?.[name];
  if (present !== undefined) checkOurs(present, file, name);
  let changed = text.trim() === '' ? '{}\n' : text;
  if (present?.path !== path) {
    const target = present === undefined ? ['runtimes', name] : ['runtimes', name, 'path'];
    changed = setValue(changed, target, present === undefined ? { path } : path);
  }
  if (makeDefault && config['default-runtime'] !== name)
    changed = setValue(changed, ['default-runtime'], name);
  return changed;
}

/** @returns and throws as `addRuntime` */
export function removeRuntime(text: string, file: string, name: string): string {
  const config = parse(text, file);
  const present = config.runtimes?.[name];
  let changed = text;
  if (present !== undefined) {
    checkOurs(present, file, name);
    // An object that we have made, or that is now empty, says nothing.
    const alone = Object.keys(config.runtimes ?? {}).length === 1;
    changed = removeValue(changed, alone ? ['runtimes'] : ['runtimes', name]);
  }
  if (config['default-runtime'] === name) changed = removeValue(changed, ['default-runtime']);
  return changed;
}

function parse(text: string, file: string): DaemonJson {
  if (text.trim() === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CliError(
      `${file} is not JSON: ${jsonError(text, error as SyntaxError)}; mend it first, Docker cannot read it either`,
    );
  }
  if (!isObject(value))
    throw new CliError(`${file} must be an object; mend it first, Docker cannot read it either`);
  const { runtimes, 'default-runtime': byDefault } = value;
  if (runtimes !== undefined && !(isObject(runtimes) && Object.values(runtimes).every(isObject))) {
    throw new CliError(`${file}: runtimes must be an object of objects`);
  }
  if (byDefault !== undefined && typeof byDefault !== 'string') {
    throw new CliError(`${file}: default-runtime must be a string`);
  }
  return value as DaemonJson;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** By the name of its program: another installation of Coracle is ours, too. */
function checkOurs({ path }: { readonly path?: unknown }, file: string, name: string): void {
  if (typeof path === 'string' && basename(path) === 'coracle') return;
  throw new CliError(
    `${file}: the runtime ${JSON.stringify(name)} is ${JSON.stringify(path ?? null)}, which is not Coracle; ` +
      'choose another name with --name',
  );
}
