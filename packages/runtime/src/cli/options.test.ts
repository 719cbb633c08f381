import { describe, expect, test } from 'vitest';
import { UsageError } from './errors.ts';
import { describeOptions, parseOptions } from './options.ts';

const specs = {
  bundle: { type: 'string', short: 'b', value: 'DIR', help: 'the bundle' },
  env: { type: 'string', short: 'e', multiple: true, help: 'a variable' },
  detach: { type: 'boolean', short: 'd', help: 'detach' },
} as const;

describe('flags', () => {
  test.each<[string[], object, string[]]>([
    [[], {}, []],
    [['id'], {}, ['id']],
    [['--bundle', '/b', 'id'], { bundle: '/b' }, ['id']],
    [['--bundle=/b', 'id'], { bundle: '/b' }, ['id']],
    [['-b', '/b', '-d', 'id'], { bundle: '/b', detach: true }, ['id']],
    [['-bundle', '/b'], { bundle: '/b' }, []],
    [['id', '--detach'], { detach: true }, ['id']],
    [['--detach=false', 'id'], {}, ['id']],
    [['--detach=true', 'id'], { detach: true }, ['id']],
    [['-e', 'A=1', '--env', 'B=-x=y'], { env: ['A=1', 'B=-x=y'] }, []],
    [['-e', '-n', 'id'], { env: ['-n'] }, ['id']],
    [['--bundle', ''], { bundle: '' }, []],
    [['--', '--detach'], {}, ['--detach']],
    [['-', 'x'], {}, ['-', 'x']],
  ])('%j', (args, values, positionals) => {
    expect(parseOptions(args, specs)).toEqual({ values, positionals });
  });

  test("exec's command keeps its own flags", () => {
    const { values, positionals } = parseOptions(['-d', 'id', 'ls', '-d', '--', '-l'], specs, {
      stopAtPositional: true,
    });
    expect(values).toEqual({ detach: true });
    expect(positionals).toEqual(['id', 'ls', '-d', '--', '-l']);
  });

  test.each([
    [['--bogus'], 'flag provided but not defined: -bogus'],
    [['-x'], 'flag provided but not defined: -x'],
    [['--constructor'], 'flag provided but not defined: -constructor'],
    [['--bundle'], 'flag needs an argument: -bundle'],
    [['--detach=perhaps'], 'invalid boolean value "perhaps"'],
  ])('%j is refused', (args, message) => {
    expect(() => parseOptions(args, specs)).toThrow(UsageError);
    expect(() => parseOptions(args, specs)).toThrow(message);
  });

  test('are described', () => {
    expect(describeOptions({ bundle: specs.bundle, detach: specs.detach })).toBe(
      '   --bundle DIR, -b DIR  the bundle\n   --detach, -d          detach\n',
    );
  });
});
