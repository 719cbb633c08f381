/** What a step is doing just now, for steps that take minutes: `412 files compiled`. */
export type Update = (text: string) => void;

/** Tells a person what a build is doing. Everything goes to stderr: stdout is for results. */
export interface Progress {
  /** Runs `work` as a named step; its time is reported when it ends. */
  step<T>(title: string, work: (update: Update) => Promise<T>): Promise<T>;
  /** A line that must be seen, such as a lock file that was changed. */
  notice(text: string): void;
}

/** Reports nothing: the default of the library. */
export const silentProgress: Progress = { step: (_title, work) => work(() => {}), notice: () => {} };

/** Where nothing can be overwritten, a line this often. */
const updateEveryMs = 30_000;

/** A line per step; on a terminal a running step is shown on the line that its result will replace. */
export function stderrProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const prefix = 'coracle-image:';
  return {
    async step(title, work) {
      const startedMs = performance.now();
      let shownMs = startedMs;
      const update: Update = (text) => {
        const nowMs = performance.now();
        if (stream.isTTY) stream.write(`\r\x1b[K${prefix} ${title} ... ${text}`);
        else if (nowMs - shownMs >= updateEveryMs) {
          shownMs = nowMs;
          stream.write(`${prefix} ${title} ... ${text}\n`);
        }
      };
      if (stream.isTTY) stream.write(`${prefix} ${title} ...`);
      try {
        const result = await work(update);
        const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
        stream.write(`${stream.isTTY ? '\r\x1b[K' : ''}${prefix} ${title} (${seconds} s)\n`);
        return result;
      } catch (error) {
        // The half-written line stays, so that the reader sees where it stopped.
        if (stream.isTTY) stream.write('\n');
        throw error;
      }
    },
    notice(text) {
      stream.write(`${prefix} ${text}\n`);
    },
  };
}
