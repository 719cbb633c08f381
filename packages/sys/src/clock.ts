import { check, libc } from './libc.ts';

const cClockSettime = libc('int clock_settime(int clock, const void *time)');

const CLOCK_REALTIME = 0;
const NANOSECONDS = 1_000_000_000n;

/** Sets the wall clock to nanoseconds since 1970 (needs CAP_SYS_TIME), as after a restored snapshot. */
export function setRealTime(nanoseconds: bigint): void {
  // struct timespec { i64 seconds; i64 nanoseconds } on x86-64
  const time = Buffer.alloc(16);
  time.writeBigInt64LE(nanoseconds / NANOSECONDS, 0);
  time.writeBigInt64LE(nanoseconds % NANOSECONDS, 8);
  check(cClockSettime(CLOCK_REALTIME, time), 'clock_settime', 'the wall clock');
}
