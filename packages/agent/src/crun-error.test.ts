import { expect, test } from 'vitest';
import { crunError } from './crun-error.ts';

const line = (msg: string, level = 'error') => `${JSON.stringify({ msg, level, time: 'now' })}\n`;

// Texts as crun 1.8.1 writes them.
test.each([
  ['executable file `nosuch` not found in $PATH: No such file or directory', 'not_found'],
  ['open executable: Permission denied', 'permission_denied'],
  ['open executable: Operation not permitted', 'permission_denied'],
  ['chdir `/nosuchdir`: No such file or directory', 'failed_precondition'],
  ['the container `c` is not running', 'failed_precondition'],
  ['mount `proc` to `proc`: Invalid argument', 'internal'],
])('%s is %s', (words, code) => {
  const error = crunError(line('a warning', 'warning') + line(words), 'start "x" in container "c"', 256);
  expect(error.code).toBe(code);
  expect(error.reason).toBe(`cannot start "x" in container "c": ${words}`);
  expect(error.cause).toBe(words);
});

test('a crun that died without a word', () => {
  expect(crunError('', 'start it', 9).reason).toBe(
    'cannot start it: crun was killed by SIGKILL without a reason',
  );
});
