import { execFile } from 'node:child_process';
import { ImageError } from './errors.ts';

export interface RunOptions {
  signal?: AbortSignal | undefined;
  cwd?: string;
  /** Debian package that holds the program, for the message when it is missing. */
  debianPackage?: string;
  /** Take what it printed even when its exit code is not 0. */
  anyExitCode?: boolean;
}

/** The host's tools must print and sort the same for every user. */
const environment = { ...process.env, LC_ALL: 'C', TZ: 'UTC', SOURCE_DATE_EPOCH: '0' };

/**
 * Runs a host program to its end and returns its stdout.
 * @throws ImageError `tool-missing`, `tool-failed` (with the last lines of stderr) or `interrupted`.
 */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      args,
      {
        env: environment,
        maxBuffer: 64 << 20,
        signal: options.signal,
        ...(options.cwd ? { cwd: options.cwd } : {}),
      },
      (error, stdout, stderr) => {
        if (!error || (options.anyExitCode && typeof error.code === 'number')) return resolve(stdout);
        reject(translate(error as NodeJS.ErrnoException, file, args, stderr, options));
      },
    );
  });
}

function translate(
  error: NodeJS.ErrnoException & { signal?: string | null },
  file: string,
  args: readonly string[],
  stderr: string,
  options: RunOptions,
): ImageError {
  if (options.signal?.aborted) return new ImageError('interrupted', `interrupted while running ${file}`);
  if (error.code === 'ENOENT') {
    const remedy = options.debianPackage ? `; install the package ${options.debianPackage}` : '';
    return new ImageError(
      'tool-missing',
      `${file} is needed to build an image and is not on this machine${remedy}`,
    );
  }
  const ending = error.signal ? `was killed by ${error.signal}` : `failed with ${error.code}`;
  const said = stderr.trim().split('\n').slice(-6).join('\n  ');
  return new ImageError(
    'tool-failed',
    `${file} ${args.join(' ')} ${ending}:\n  ${said || '(it said nothing)'}`,
    {
      cause: error,
    },
  );
}
