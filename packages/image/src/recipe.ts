import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { ImageError } from './errors.ts';
import { lineOfKey } from './toml-lines.ts';

/** What a recipe is called inside its folder. */
export const recipeFileName = 'image.toml';

// Names reach file names and command lines, so they are checked by Debian's rule (policy, section 5.6.1).
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'is not a Debian package name');
const moduleName = z.string().regex(/^[A-Za-z0-9_-]+$/, 'is not a kernel module name');
const packagePath = z
  .string()
  .regex(/^[^/\s][^\s]*$/, 'must be a path relative to the root, such as usr/bin/crun')
  .refine((path) => !path.split('/').includes('..'), 'must not contain ..');

const recipeSchema = z.strictObject({
  format: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]*$/, 'may hold lower-case letters, digits and dashes'),
  kernel: z.strictObject({
    /** A Debian kernel image package, or the meta package that depends on one. */
    package: packageName,
    /** Modules that /init loads; what they depend on is added. */
    modules: z.array(moduleName).default([]),
    /** Like `modules`, but only loaded where the kernel has them. */
    optional_modules: z.array(moduleName).default([]),
    /** Modules that /init loads only when the kernel's command line has `coracle.modules=NAME,NAME`. */
    modules_on_request: z.array(moduleName).default([]),
    /** Kernel command line that this image needs besides what every image needs. */
    arguments: z.array(z.string().regex(/^[^\s"]+$/, 'must be one word')).default([]),
  }),
  node: z.strictObject({
    /** The npm package whose bin/node is put into the image. */
    package: z.string().regex(/^[a-z0-9@][a-z0-9@/._-]+$/, 'is not an npm package name'),
    /** Arguments for node before the agent's path. */
    flags: z
      .array(z.string().regex(/^--[A-Za-z0-9=_,./-]+$/, 'must be one word that starts with --'))
      .default([]),
  }),
  packages: z
    .array(
      z.strictObject({
        name: packageName,
        /** The files wanted of it. Libraries that a program needs are added by themselves. */
        files: z.array(packagePath).default([]),
      }),
    )
    .default([]),
});

export type Recipe = z.infer<typeof recipeSchema>;

/**
 * Reads and checks `FOLDER/image.toml`.
 * @throws ImageError `recipe-invalid`: one line per mistake, each with file, line and key.
 */
export async function readRecipe(folder: string): Promise<Recipe> {
  const path = join(folder, recipeFileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(cause);
    throw new ImageError('recipe-invalid', `cannot read the recipe ${path}: ${why}`, { cause });
  }
  return parseRecipe(text, path);
}

/** As `readRecipe`, on text; `path` is only for messages. */
export function parseRecipe(text: string, path: string): Recipe {
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const reason = cause.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '');
    throw new ImageError('recipe-invalid', `${path}:${cause.line}:${cause.column}: ${reason}`, { cause });
  }
  const checked = recipeSchema.safeParse(value);
  if (checked.success) return checked.data;
  const mistakes = checked.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => mistake(text, path, [...issue.path, key], 'is not a key of a recipe'))
      : [mistake(text, path, issue.path, issue.message)],
  );
  throw new ImageError('recipe-invalid', mistakes.join('\n'), { cause: checked.error });
}

function mistake(text: string, path: string, key: readonly PropertyKey[], what: string): string {
  return `${path}:${lineOfKey(text, key)}: ${key.map(String).join('.') || 'the file'}: ${what}`;
}
