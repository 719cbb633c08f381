/** Waiting for a condition with a deadline, which is how every test here waits. */

/** @throws Error at the deadline, naming what did not come true; `what` may be asked for then */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  deadlineMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      const wanted = typeof what === 'string' ? what : what();
      throw new Error(`waited ${deadlineMs / 1000} s in vain until ${wanted}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** @throws Error at the deadline, naming what did not happen */
export async function within<T>(promise: Promise<T>, deadlineMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`waited ${deadlineMs / 1000} s in vain until ${what}`)),
      deadlineMs,
    );
  });
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * Waits for what a program that has ended left in its pipes: until they are `closed`, or for a moment, since a detached
 * container keeps them.
 */
export async function lastWords(closed: Promise<unknown>): Promise<void> {
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 300))]);
  // A turn of the event loop that comes late looks at its timers before it reads.
  await new Promise((resolve) => setImmediate(resolve));
}
