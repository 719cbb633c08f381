import { afterAll, expect, test } from 'vitest';

const RealView = DataView;
const { restoreDataView } = await import('./late-views.ts');
afterAll(restoreDataView);

test('views that are made while modules load are as others, and made by their first use', () => {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer, 4, 8);
  expect(view).not.toBeInstanceOf(RealView);
  view.setBigUint64(0, 0x0102030405060708n, true);
  expect([...bytes.subarray(4, 12)]).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
  expect([view.getInt32(0, true), view.byteLength, view.byteOffset]).toEqual([0x05060708, 8, 4]);
  expect(view.buffer).toBe(bytes.buffer);
  expect(() => view.getInt8(8)).toThrow(RangeError);
  restoreDataView();
  expect(new DataView(bytes.buffer)).toBeInstanceOf(RealView);
  expect(view.getUint8(0)).toBe(8);
});
