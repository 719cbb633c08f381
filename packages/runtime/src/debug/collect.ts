/** Collects the parts, all at the same time and each within its deadline: one that hangs holds up no other. */
import { messageOf } from '../cli/errors.ts';
import { type Part, type PartContext, parts } from './parts.ts';
import type { Secrets } from './secrets.ts';

export interface Collected {
  readonly file: string;
  readonly what: string;
  /** Undefined: it could not be had, and why. */
  readonly content: Buffer | undefined;
  readonly missing: string;
}

/** In the order of the table; `told` as they come. */
export function collectParts(
  context: Omit<PartContext, 'signal'>,
  secrets: Secrets,
  told: (part: Collected) => void,
): Promise<Collected[]> {
  return Promise.all(
    parts.map(async (part) => {
      const collected = await collectPart(part, context, secrets);
      told(collected);
      return collected;
    }),
  );
}

async function collectPart(
  { file, what, deadlineMs, collect }: Part,
  context: Omit<PartContext, 'signal'>,
  secrets: Secrets,
): Promise<Collected> {
  // What is captured for some time has that time, too.
  const ms = deadlineMs + context.captureMs;
  const signal = AbortSignal.timeout(ms);
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
  try {
    const content = await Promise.race([collect({ ...context, signal }), late]);
    // The others are made of fields; a log is whatever somebody has said.
    const bytes = file.endsWith('.log') ? secrets.clean(content.toString()) : content;
    return { file, what, content: Buffer.from(bytes), missing: '' };
  } catch (error) {
    const why = signal.aborted ? `no answer within ${ms / 1000} s` : messageOf(error);
    return { file, what, content: undefined, missing: secrets.clean(why) };
  }
}

/** The archive's first file. */
export function summary(id: string, collected: readonly Collected[]): Buffer {
  const lines = collected.map(
    ({ file, what, content, missing }) =>
      `${content === undefined ? 'MISSING ' : '        '}${file.padEnd(20)}${what}${content === undefined ? `: ${missing}` : ''}`,
  );
  return Buffer.from(
    [
      `coracle debug ${id}, ${new Date().toISOString()}`,
      '',
      ...lines,
      '',
      'What users type, print and configure is left out: environment values, arguments, annotations, mounts, output.',
      'Look into it before you send it on all the same: logs are text.',
      '',
    ].join('\n'),
  );
}
