/** crun's words, translated once into errors of the link (docs/processes.md, the table of codes). */
import { decodeWaitStatus } from '@coracle/sys';
import { type CodeName, RpcError } from '@coracle/wire';

/** First match wins. The texts are those of crun 1.8 to 1.20 (src/libcrun/container.c, linux.c, utils.c). */
const patterns: readonly (readonly [RegExp, CodeName])[] = [
  [/executable (file|path) .*not found/i, 'not_found'],
  [/open executable: no such file/i, 'not_found'],
  [/open executable: /i, 'permission_denied'],
  [/executable .*(permission denied|not permitted|is a directory)/i, 'permission_denied'],
  [/exec format error/i, 'permission_denied'],
  [/(is not running|is paused|not paused|cannot exec|chdir|not in .* state)/i, 'failed_precondition'],
  [/already exists/i, 'already_exists'],
  [/(no space left|cannot allocate memory)/i, 'resource_exhausted'],
  [/does not exist|error opening file .*\/status/i, 'failed_precondition'],
];

/** @param log the log file that crun wrote, JSON lines */
export function crunError(log: string, what: string, waitStatus: number): RpcError {
  const words = lastMessage(log);
  if (words === undefined) {
    const status = decodeWaitStatus(waitStatus);
    const ending = status.kind === 'exited' ? `exited with ${status.code}` : `was killed by ${status.signal}`;
    return new RpcError('internal', `cannot ${what}: crun ${ending} without a reason`);
  }
  const code = patterns.find(([pattern]) => pattern.test(words))?.[1] ?? 'internal';
  return new RpcError(code, `cannot ${what}: ${words}`, { cause: words });
}

function lastMessage(log: string): string | undefined {
  const messages: string[] = [];
  for (const line of log.split('\n')) {
    if (line === '') continue;
    try {
      const entry = JSON.parse(line) as { msg?: unknown; level?: unknown };
      if (typeof entry.msg === 'string' && entry.level !== 'warning') messages.push(entry.msg);
    } catch {
      messages.push(line);
    }
  }
  return messages.at(-1);
}
