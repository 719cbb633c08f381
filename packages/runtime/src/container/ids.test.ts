import { describe, expect, test } from 'vitest';
import { sandboxIdOf } from '../sandbox/sandbox-id.ts';
import { checkContainerId } from './ids.ts';

describe('container ids', () => {
  test.each(['a', 'web-1', 'A_b.c+d', '...', 'x'.repeat(255)])('%s may be used', (id) => {
    expect(checkContainerId(id)).toBe(id);
  });
  test.each([
    ['', 'is empty'],
    ['a/b', 'slash'],
    ['..', 'is a path'],
    ['a b', 'not allowed'],
    ['a,b', 'not allowed'],
    ['ä', 'not allowed'],
    ['x'.repeat(256), '256 characters'],
  ])('%j may not: %s', (id, why) => {
    expect(() => checkContainerId(id)).toThrow(why);
  });
  test('each root has its own sandboxes', () => {
    expect(sandboxIdOf('/a', 'x')).toMatch(/^[0-9a-f]{16}$/);
    expect(sandboxIdOf('/a', 'x')).not.toBe(sandboxIdOf('/b', 'x'));
    // The border between root and id is part of the name.
    expect(sandboxIdOf('/a', 'bx')).not.toBe(sandboxIdOf('/ab', 'x'));
  });
});
