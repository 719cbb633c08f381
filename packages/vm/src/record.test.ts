import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readRecord, removeUnfinishedRecords, type VmRecord, writeRecord } from './record.ts';
import { temporaryFolder } from './testing.ts';

const record: VmRecord = {
  version: 1,
  driver: 'qemu',
  state: 'running',
  createdAt: '2026-01-01T00:00:00.000Z',
  accel: 'tcg',
  main: { pid: 12, startTicks: 34 },
  shares: [],
  helpers: { pod: { pid: 56, startTicks: 78 } },
};

test('what is written is read, and no other file appears', () => {
  const folder = temporaryFolder();
  expect(readRecord(folder)).toBeUndefined();
  writeRecord(folder, record);
  expect(readRecord(folder)).toEqual(record);
  expect(readdirSync(folder)).toEqual(['vm.json']);
});

test('a record that is cut or of a later version is refused by name', () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'vm.json'), '{"version": 1, ');
  expect(() => readRecord(folder)).toThrow(/cannot read the VM record .*vm\.json/);
  writeFileSync(join(folder, 'vm.json'), '{"version": 2}');
  expect(() => readRecord(folder)).toThrow(/version 2 is not known/);
});

test('what a writer left that was killed before its rename is removed, the record is not', () => {
  const directory = temporaryFolder();
  writeRecord(directory, record);
  writeFileSync(join(directory, 'vm.json.4711'), '{ "version": 1,');
  removeUnfinishedRecords(directory);
  expect(readdirSync(directory)).toEqual(['vm.json']);
  expect(readRecord(directory)).toEqual(record);
});
