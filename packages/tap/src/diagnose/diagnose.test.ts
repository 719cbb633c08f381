/** Recorded failures with known causes, and healthy captures (test/captures): each cause is named, none is made up. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { failures, healthy } from '../../../../test/captures/cases.ts';
import { diagnose } from './diagnose.ts';

const capture = (path: string): string =>
  fileURLToPath(new URL(`../../../../test/captures/${path}.pcapng`, import.meta.url));

describe.each(failures)('$name: $story', ({ name, causes, says }) => {
  it(`is diagnosed as ${causes.join(' and ')}`, async () => {
    const { findings, reader } = await diagnose(capture(`failures/${name}`));
    const found = findings.map(({ title, text, cause }) => `${title}: ${text} [${cause}]`).join('\n');
    expect(found).toMatch(says);
    expect(new Set(findings.map(({ cause }) => cause)), found).toEqual(new Set(causes));
    for (const { evidence } of findings) {
      expect(evidence.length).toBeGreaterThan(0);
      for (const number of evidence) expect(number).toBeLessThanOrEqual(reader.records);
    }
  });
});

describe.each(healthy)('$name: $story', ({ name }) => {
  it('is found healthy', async () => {
    expect((await diagnose(capture(`healthy/${name}`))).findings).toEqual([]);
  });

  it('holds nothing that was typed or printed', () => {
    if (name === 'terminal') return;
    expect(readFileSync(capture(`healthy/${name}`)).includes('PATH=/bin')).toBe(false);
  });
});
