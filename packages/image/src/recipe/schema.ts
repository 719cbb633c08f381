/** The keys of one image.toml. Each part is judged by itself, so that a mistake in one does not hide those in others. */
import { z } from 'zod';

// Names reach file names and command lines, so they are checked by Debian's rule (policy, section 5.6.1).
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'is not a Debian package name');
const moduleName = z.string().regex(/^[A-Za-z0-9_-]+$/, 'is not a kernel module name');
const packagePath = z
  .string()
  .regex(/^[^/\s][^\s]*$/, 'must be a path relative to the root, such as usr/bin/crun')
  .refine((path) => isPlainPath(path.replace(/\/$/, '')), 'must not contain .. or empty names');
const text = z.string();
/** Relative to the recipe's folder; that it stays there is checked on the file system. */
const source = z.string().min(1, "must name a file in the recipe's folder");

/** Of Kconfig (Documentation/kbuild/kconfig-language.rst). */
const optionName = z
  .string()
  .regex(/^(?!CONFIG_)[A-Z0-9][A-Za-z0-9_]*$/, 'is not the name of a kernel option (without CONFIG_)');
const optionValue = z
  .union([z.string(), z.int()], 'must be "y", "n", a number or a string')
  .refine((value) => value !== 'm', 'must be "y" or "n": our own kernel has everything built in')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
  .refine((value) => !/[\u0000-\u001f]/.test(String(value)), 'must be one line');

const fileSchema = z
  .strictObject({
    /** In the image. */
    path: z
      .string()
      .transform((path) => path.replace(/^\//, ''))
      .refine(isPlainPath, 'must be a path in the image, such as /etc/motd, without . and ..'),
    source: source.optional(),
    text: text.optional(),
    link: z.string().min(1, 'must be the target of a symlink').optional(),
    directory: z.literal(true, 'must be true or left out').optional(),
    mode: z
      .string()
      .regex(/^0?[0-7]{3,4}$/, 'must be an octal string such as "0755"')
      .transform((digits) => Number.parseInt(digits, 8))
      .optional(),
  })
  .refine(
    (file) => countOf(file.source, file.text, file.link, file.directory) === 1,
    'needs one of source, text, link and directory = true',
  )
  .refine((file) => file.link === undefined || file.mode === undefined, {
    path: ['mode'],
    message: 'a link has no mode of its own',
  });

const hookSchema = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[A-Za-z0-9_][A-Za-z0-9._-]*$/,
        'may hold letters, digits, dots, dashes and underscores, such as 10-sysctl',
      )
      .max(100, 'is too long'),
    source: source.optional(),
    text: text.optional(),
  })
  .refine((hook) => countOf(hook.source, hook.text) === 1, 'needs one of source and text');

const packageSchema = z.strictObject({
  name: packageName,
  /** The files wanted of it; one that ends with / is a whole folder. Libraries are added by themselves. */
  files: z.array(packagePath).optional(),
  /** All of its files but documentation. */
  everything: z.boolean().optional(),
});

const tables = {
  format: z.literal(1, 'must be 1'),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]*$/, 'may hold lower-case letters, digits and dashes')
    .optional(),
  /** Folder of the recipe that this one builds on. */
  extends: z.string().min(1, 'must be the folder of another recipe').optional(),
  kernel: z
    .strictObject({
      /** A Debian kernel image package, or the meta package that depends on one. */
      package: packageName.optional(),
      /** The Debian source package of our own kernel. */
      source: packageName.optional(),
      /** A fragment for our own kernel's configuration. */
      config: source.optional(),
      /** The same, option by option. */
      options: z.record(optionName, optionValue).optional(),
      /** Modules that /init loads; what they depend on is added. */
      modules: z.array(moduleName).optional(),
      /** Like `modules`, but only loaded where the kernel has them. */
      optional_modules: z.array(moduleName).optional(),
      /** Modules that /init loads only when the kernel's command line has `coracle.modules=NAME,NAME`. */
      modules_on_request: z.array(moduleName).optional(),
      /** Kernel command line that this image needs besides what every image needs. */
      arguments: z.array(z.string().regex(/^[^\s"]+$/, 'must be one word')).optional(),
    })
    .optional(),
  node: z
    .strictObject({
      /** The npm package whose bin/node is put into the image. */
      package: z
        .string()
        .regex(/^[a-z0-9@][a-z0-9@/._-]+$/, 'is not an npm package name')
        .optional(),
      /** Arguments for node before the agent's path. */
      flags: z
        .array(z.string().regex(/^--[A-Za-z0-9=_,./-]+$/, 'must be one word that starts with --'))
        .optional(),
    })
    .optional(),
  root: z
    .strictObject({
      filesystem: z.enum(['erofs', 'ext4', 'initramfs']).optional(),
      compression: z.enum(['none', 'lz4', 'lz4hc']).optional(),
      verity: z.boolean().optional(),
    })
    .optional(),
};

const lists = { packages: packageSchema, files: fileSchema, hooks: hookSchema };

type Tables = { [Key in keyof typeof tables]?: z.infer<(typeof tables)[Key]> | undefined };
/** An entry with a mistake is undefined, so that the others keep their numbers. */
type Lists = { [Key in keyof typeof lists]: (z.infer<(typeof lists)[Key]> | undefined)[] };
export type LayerValues = Tables & Lists;

export interface KeyMistake {
  key: readonly PropertyKey[];
  what: string;
}

/** The parts of a parsed image.toml that are right, and what is wrong with the others. */
export function checkValues(raw: Readonly<Record<string, unknown>>): {
  values: LayerValues;
  mistakes: KeyMistake[];
} {
  const mistakes: KeyMistake[] = [];
  const check = (schema: z.ZodType, value: unknown, key: readonly PropertyKey[]): unknown => {
    const checked = schema.safeParse(value);
    if (checked.success) return checked.data;
    mistakes.push(...checked.error.issues.flatMap((issue) => mistakesOf(issue, key)));
    return undefined;
  };
  const values: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(tables)) values[key] = check(schema, raw[key], [key]);
  for (const [key, schema] of Object.entries(lists)) {
    const entries = check(z.array(z.unknown()).default([]), raw[key], [key]) as unknown[] | undefined;
    values[key] = (entries ?? []).map((entry, index) => check(schema, entry, [key, index]));
  }
  for (const key of Object.keys(raw)) {
    if (!(key in tables) && !(key in lists)) mistakes.push({ key: [key], what: unknownKey });
  }
  return { values: values as unknown as LayerValues, mistakes };
}

const unknownKey = 'is not a key of a recipe';

function mistakesOf(issue: z.core.$ZodIssue, at: readonly PropertyKey[]): KeyMistake[] {
  const key = [...at, ...issue.path];
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((name) => ({ key: [...key, name], what: unknownKey }));
  // The reason why a key is wrong is one level down.
  if (issue.code === 'invalid_key') return [{ key, what: issue.issues[0]?.message ?? issue.message }];
  return [{ key, what: issue.message }];
}

function countOf(...values: unknown[]): number {
  return values.filter((value) => value !== undefined).length;
}

/** Relative, of ordinary names only. */
function isPlainPath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
  if (/[\u0000-\u001f\u007f]/.test(path)) return false;
  return path.split('/').every((name) => !['', '.', '..'].includes(name) && Buffer.byteLength(name) <= 255);
}
