/**
 * What must not be in an archive that is sent to somebody: values of the environment, arguments, annotations. Parts are
 * made of fields that are known to be harmless; logs are text of others, so what is known to be the user's is taken out
 * of them as well.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerState } from '../container/state.ts';

/** Shorter ones are in every log: "1", "true", "/bin". */
const LEAST_CHARACTERS = 5;
const LEFT_OUT = '<left out>';

export class Secrets {
  readonly #values: readonly string[];

  /** @param env of this program: whoever calls it may have secrets there, too */
  constructor(state: ContainerState | undefined, env: NodeJS.ProcessEnv = process.env) {
    const config = state === undefined ? undefined : configOf(state.bundle);
    const values = [
      ...Object.entries(env).flatMap(([name, value]) => (OWN.test(name) ? [] : [value ?? ''])),
      ...(config?.process?.env ?? []).map((line) => line.slice(line.indexOf('=') + 1)),
      ...(config?.process?.args ?? []).slice(1),
      ...Object.values(config?.annotations ?? {}),
      ...Object.values(state?.annotations ?? {}),
      ...hookTexts(config?.hooks),
    ].filter((value) => value.length >= LEAST_CHARACTERS && !COMMON.has(value));
    // The longest first: one may be a part of another.
    this.#values = [...new Set(values.flatMap((value) => [value, JSON.stringify(value).slice(1, -1)]))].sort(
      (a, b) => b.length - a.length,
    );
  }

  clean(text: string): string {
    let clean = text;
    for (const value of this.#values) clean = clean.replaceAll(value, LEFT_OUT);
    return clean;
  }
}

/** Ours, and those that say where this host has its programs. */
const OWN =
  /^(CORACLE_\w+|PATH|HOME|PWD|OLDPWD|SHELL|TERM|LANG|LC_\w+|USER|LOGNAME|HOSTNAME|XDG_\w+|NODE_\w+|SHLVL|_|TZ)$/;
const COMMON: ReadonlySet<string> = new Set([
  'xterm',
  'linux',
  '/root',
  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
]);

interface Config {
  readonly process?: { readonly env?: readonly string[]; readonly args?: readonly string[] };
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hooks?: Readonly<Record<string, readonly { readonly args?: string[]; readonly env?: string[] }[]>>;
}

/** The bundle may be gone, or never have been one. */
function configOf(bundle: string): Config | undefined {
  try {
    return JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as Config;
  } catch {
    return undefined;
  }
}

function hookTexts(hooks: Config['hooks']): string[] {
  return Object.values(hooks ?? {})
    .flat()
    .flatMap(({ args = [], env = [] }) => [
      ...args.slice(1),
      ...env.map((line) => line.slice(line.indexOf('=') + 1)),
    ]);
}
