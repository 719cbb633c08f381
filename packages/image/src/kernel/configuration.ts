/** A kernel's configuration: fragments of `.config` lines that are laid over `make tinyconfig` in order. */
import { readFile } from 'node:fs/promises';
import { ImageError } from '../errors.ts';

export interface KernelOption {
  /** With CONFIG_, as in .config. */
  name: string;
  /** y, n, a number, or a string in quotes. */
  value: string;
  /** Where it was asked for: file and line, or the recipe's table. */
  from: string;
}

/**
 * @param fragments paths of files with lines such as `CONFIG_EROFS_FS=y`, and comments
 * @param options of the recipe, by name without CONFIG_, values as Kconfig writes them; they come last
 * @throws ImageError `recipe-invalid` naming file and line
 */
export async function readConfiguration(
  fragments: readonly string[],
  options: Readonly<Record<string, string>> = {},
): Promise<KernelOption[]> {
  // A later line for the same option takes the place of an earlier one.
  const wanted = new Map<string, KernelOption>();
  for (const path of fragments) {
    const lines = (await readFile(path, 'utf8')).split('\n');
    lines.forEach((line, index) => {
      if (line.trim() === '' || line.startsWith('#')) return;
      const [, name, value] = /^(CONFIG_\w+)=(\S.*)$/.exec(line) ?? [];
      if (!name || !value) {
        throw new ImageError(
          'recipe-invalid',
          `${path}:${index + 1}: ${JSON.stringify(line)} is no line such as CONFIG_EROFS_FS=y`,
        );
      }
      wanted.set(name, { name, value, from: `${path}:${index + 1}` });
    });
  }
  for (const [key, value] of Object.entries(options)) {
    wanted.set(`CONFIG_${key}`, { name: `CONFIG_${key}`, value, from: `kernel.options.${key}` });
  }
  return [...wanted.values()];
}

export function configurationText(options: readonly KernelOption[]): string {
  return options.map(({ name, value }) => `${name}=${value}\n`).join('');
}

/**
 * What the kernel's own Kconfig did not accept: an option that does not exist, or whose dependencies are missing, is
 * dropped by it without a word.
 */
export function notTaken(options: readonly KernelOption[], config: string): string[] {
  const values = parseConfig(config);
  return options.flatMap(({ name, value, from }) => {
    const got = values.get(name) ?? 'n';
    return got === value ? [] : [`${from}: ${name}=${value}: the kernel's configuration has ${got} instead`];
  });
}

/** Name (with CONFIG_) to value of everything that a .config sets. */
export function parseConfig(config: string): Map<string, string> {
  const lines = config.matchAll(/^(CONFIG_\w+)=(.*)$/gm);
  return new Map([...lines].map((match) => [match[1] ?? '', match[2] ?? '']));
}
