import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// The tiers of docs/testing.md. `unit` runs beside the code; the others live in test/.
export default defineConfig({
  test: {
    // Vitest leaves one processor free; most tests wait for other processes, so that would be one at a time on two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      { test: { name: 'unit', include: ['packages/*/src/**/*.test.ts'], testTimeout: 20_000 } },
      {
        test: {
          name: 'local',
          include: ['test/local/**/*.test.ts', 'test/model/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: { name: 'tap', include: ['test/tap/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 60_000 },
      },
      {
        test: {
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 240_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'clients',
          include: ['test/clients/**/*.test.ts'],
          globalSetup: ['test/clients/setup.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
