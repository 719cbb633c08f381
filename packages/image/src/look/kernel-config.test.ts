import { expect, test } from 'vitest';
import { parseKernelConfig } from './kernel-config.ts';

test('an option that is not set is the same as one that is not named', () => {
  const text = '# comment\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="a=b"\nCONFIG_E=n\n';
  expect([...parseKernelConfig(text)]).toEqual([
    ['A', 'y'],
    ['B', 'm'],
    ['D', '"a=b"'],
  ]);
});
