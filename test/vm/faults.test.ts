/** 16 processes in one real VM from a template, and a saboteur: the proxy is killed at least 20 times, and each other fault strikes too. */
import { beforeAll, expect } from 'vitest';
import { Place } from '../contract/place.ts';
import { recoverySuite } from '../faults/recovery.ts';
import { faultSuite } from '../faults/suite.ts';

beforeAll(async () => {
  await using place = new Place('qemu');
  expect(await place.coracle(['template', 'build'])).toMatchObject({ code: 0 });
});

faultSuite({ driver: 'qemu', faults: 16, kills: 20 }, 600_000);
recoverySuite('qemu');
