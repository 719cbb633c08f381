/** The fault suite as a test: one body for the local driver and for real virtual machines. */
import { expect, test } from 'vitest';
import { type FaultRunOptions, runFaults } from './saboteur.ts';
import { closingTable, liveHeader, liveLine } from './table.ts';

export function faultSuite(options: Omit<FaultRunOptions, 'seed'>, timeoutMs: number): void {
  test('no byte is lost or doubled, and every exit code is right, whatever is killed, stopped or cut', {
    timeout: timeoutMs,
  }, async () => {
    // Another schedule each time; `--seed` repeats one.
    const seed = Number(process.env.FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
    const story = [liveHeader];
    const report = await runFaults({ ...options, seed, onFault: (line) => story.push(liveLine(line)) });
    const table = [...story, closingTable(report)].join('\n');
    console.log(table);
    expect(report.wrong, table).toEqual([]);
    // The VM, too, is one that was saved and goes on.
    if (options.driver === 'qemu') expect(report.template).toMatch(/^[0-9a-f]{32}$/);
    expect(report.kills).toBeGreaterThanOrEqual(options.kills);
    const loss = report.processes.map(({ lostBytes, doubledBytes }) => lostBytes + doubledBytes);
    expect(loss).toEqual(report.processes.map(() => 0));
  });
}
