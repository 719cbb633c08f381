import { expect, test } from 'vitest';
import { formatEntry } from './log.ts';

const time = new Date('2026-01-02T03:04:05.678Z');

test('entries are as logrus writes them', () => {
  expect(formatEntry('json', 'error', 'a "b"\nc', time)).toBe(
    '{"level":"error","msg":"a \\"b\\"\\nc","time":"2026-01-02T03:04:05Z"}\n',
  );
  expect(formatEntry('text', 'error', 'a "b"', time)).toBe(
    'time="2026-01-02T03:04:05Z" level=error msg="a \\"b\\""\n',
  );
});
