import { expect, test } from 'vitest';
import { checkSocketPath, vmPaths } from './directory.ts';

test('a socket path may have 107 bytes and not one more, whatever the characters', () => {
  expect(checkSocketPath(`/${'a'.repeat(106)}`)).toHaveLength(107);
  expect(() => checkSocketPath(`/${'a'.repeat(107)}`)).toThrow(
    /has 108 bytes; Linux allows 107\n.*1 bytes shorter/,
  );
  expect(() => checkSocketPath(`/${'é'.repeat(54)}`)).toThrow(
    expect.objectContaining({ code: 'path-too-long' }),
  );
});

test('all files of a VM are in its folder', () => {
  const paths = vmPaths('/run/c/one');
  expect(paths.link).toBe('/run/c/one/link.sock');
  expect(paths.fsSocket('pod')).toBe('/run/c/one/fs-pod.sock');
  expect(paths.share('pod')).toBe('/run/c/one/share-pod');
});
