import {
  chownSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { replaceConfigFile } from './config-file.ts';
import { addRuntime, removeRuntime } from './daemon-json.ts';
import { unifiedDiff } from './diff.ts';

const file = '/etc/docker/daemon.json';
const ours = { name: 'coracle', path: '/opt/bin/coracle' };
const add = (text: string, makeDefault = false) => addRuntime(text, file, ours, makeDefault);

/** As people write them. */
const files = {
  'two spaces': '{\n  "debug": true,\n  "log-opts": {\n    "max-size": "10m"\n  }\n}\n',
  tabs: '{\n\t"debug": true,\n\t"dns": ["192.0.2.1", "192.0.2.2"]\n}',
  'four spaces, \\r\\n': '{\r\n    "debug" : true\r\n}\r\n',
  'one line': '{"debug": true, "dns": []}',
  'another runtime':
    '{\n  "runtimes": {\n    "crun": { "path": "/usr/bin/crun" }\n  },\n  "debug": true\n}\n',
  'numbers that are large, and odd spaces': '{ "a" :18446744073709551615 ,\n\n  "b":   [ 1,2 ]\n }\n',
};

test.each(Object.entries(files))('%s: nothing is lost, and it comes back to the last byte', (_, text) => {
  for (const makeDefault of [false, true]) {
    const changed = add(text, makeDefault);
    expect(JSON.parse(changed)).toEqual({
      ...JSON.parse(text),
      runtimes: { ...JSON.parse(text).runtimes, coracle: { path: ours.path } },
      ...(makeDefault ? { 'default-runtime': 'coracle' } : {}),
    });
    // Lines are added, and a comma at most to one that is there.
    for (const [before, after] of changes(text, changed)) expect(after).toBe(`${before},`);
    expect(add(changed, makeDefault)).toBe(changed);
    const back = removeRuntime(changed, file, 'coracle');
    expect(back).toBe(text);
    expect(removeRuntime(back, file, 'coracle')).toBe(back);
  }
});

/** Lines that were changed, from a diff. A text of one line has one that is longer. */
function changes(before: string, after: string): [string, string][] {
  if (before.trim().split('\n').length < 3) return [];
  const lines = unifiedDiff('f', before, after).split('\n').slice(2);
  return lines.flatMap((line, i): [string, string][] => {
    if (!line.startsWith('-')) return [];
    return [[line.slice(1).replace('\r', ''), (lines[i + 1] ?? '').slice(1).replace('\r', '')]];
  });
}

test('what is added looks like its neighbours', () => {
  expect(add(files['another runtime'])).toBe(
    [
      '{',
      '  "runtimes": {',
      '    "crun": { "path": "/usr/bin/crun" },',
      '    "coracle": {',
      '      "path": "/opt/bin/coracle"',
      '    }',
      '  },',
      '  "debug": true',
      '}',
      '',
    ].join('\n'),
  );
  expect(add(files['one line'])).toBe(
    '{"debug": true, "dns": [], "runtimes": {"coracle": {"path": "/opt/bin/coracle"}}}',
  );
  expect(add(files.tabs, true)).toContain('],\n\t"runtimes": {\n\t\t"coracle": {\n\t\t\t"path"');
});

test('no file, and an empty one', () => {
  const wanted = '{\n  "runtimes": {\n    "coracle": {\n      "path": "/opt/bin/coracle"\n    }\n  }\n}\n';
  expect(add('')).toBe(wanted);
  expect(add(' \n')).toBe(wanted);
  expect(removeRuntime('', file, 'coracle')).toBe('');
});

test('another installation of ours is replaced, and its arguments stay', () => {
  const text = '{"runtimes": {"coracle": {"path": "/old/coracle", "runtimeArgs": ["--debug"]}}}';
  expect(JSON.parse(add(text))).toEqual({
    runtimes: { coracle: { path: ours.path, runtimeArgs: ['--debug'] } },
  });
});

test.each([
  ['{\n  "debug": true,\n}\n', /daemon\.json is not JSON: line 3, column 1: .*mend it first/],
  ['{\n  // hello\n}', /line 2, column 3/],
  ['[]', /must be an object/],
  ['{"runtimes": []}', /runtimes must be an object of objects/],
  ['{"runtimes": {"x": "y"}}', /runtimes must be an object of objects/],
  ['{"default-runtime": 1}', /default-runtime must be a string/],
  ['{"runtimes": {"coracle": {"path": "/bin/other"}}}', /"coracle" is "\/bin\/other", which is not Coracle/],
])('%j is refused by both', (text, message) => {
  expect(() => add(text)).toThrow(message);
  expect(() => removeRuntime(text, file, 'coracle')).toThrow(message);
});

test('the change is shown with three lines around it', () => {
  const before = Array.from({ length: 20 }, (_, i) => `${i}\n`).join('');
  const after = before.replace('5\n', 'five\n').replace('19\n', '');
  expect(unifiedDiff('f', before, after)).toBe(
    '--- f\n+++ f\n@@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@\n 16\n 17\n 18\n-19\n',
  );
  expect(unifiedDiff('f', 'same', 'same')).toBe('');
});

describe('the file', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'daemon-json-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('keeps mode and owner, and a link to it stays one', () => {
    const real = join(folder, 'real.json');
    const link = join(folder, 'daemon.json');
    writeFileSync(real, '{}', { mode: 0o640 });
    if (process.getuid?.() === 0) chownSync(real, 12, 34);
    const { uid, gid } = statSync(real);
    symlinkSync('real.json', link);
    replaceConfigFile(link, '{ }');
    expect(readFileSync(real, 'utf8')).toBe('{ }');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    const stat = statSync(real);
    expect([stat.mode & 0o7777, stat.uid, stat.gid]).toEqual([0o640, uid, gid]);
    expect(readdirSync(folder).sort()).toEqual(['daemon.json', 'real.json']);
  });

  test('and its folder are made when they are not there', () => {
    const path = join(folder, 'etc/docker/daemon.json');
    replaceConfigFile(path, '{}\n');
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  test('that cannot be written is named', () => {
    expect(() => replaceConfigFile('/proc/daemon.json', '{}')).toThrow(/cannot write \/proc\/daemon\.json: /);
  });
});
