/** The link itself: it is the one that was asked for, and it has one proxy at a time. */
import { readLinkRecord } from '@coracle/sys';
import { readRecord } from '@coracle/vm';
import { describe, expect, test } from 'vitest';
import { inBatches } from './exits.ts';
import { guestEnv, type SharedContainer, type TransportName } from './place.ts';

export function linkSuite(shared: () => SharedContainer, transport: TransportName): void {
  describe('the link', () => {
    test('is the one that was asked for', () => {
      const { sandboxDirectory } = shared().place.files(shared().id);
      const { address, process } = readLinkRecord(sandboxDirectory);
      const record = readRecord(sandboxDirectory);
      expect([address.kind, record?.transport]).toEqual([transport, transport]);
      if (transport !== 'unix') expect(process).toEqual(record?.main);
    });

    test('brings the exit code after the last byte', async () => {
      const codes = Array.from({ length: 32 }, (_, code) => code);
      const ends = await inBatches(codes, 4, async (code) => {
        const script = `seq 1 ${100 * code}; exit ${code}`;
        const process = await shared().container.exec({ args: ['sh', '-c', script], env: guestEnv });
        const { stdout, result } = await process.output();
        return { code: result.code, lines: String(stdout).split('\n').length - 1 };
      });
      expect(ends).toEqual(codes.map((code) => ({ code, lines: 100 * code })));
    });
  });
}
