import { defineConfig } from 'vitest/config';

// What runs inside a guest, where AF_VSOCK has a loopback: started by test/vm/vsock.test.ts. The checkout is read-only
// there, and under emulation everything takes its time.
export default defineConfig({
  cacheDir: '/tmp/vite',
  test: {
    name: 'vsock',
    include: ['test/vsock/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // One process less to start, one after the other: the guest has one CPU.
    fileParallelism: false,
    isolate: false,
  },
});
