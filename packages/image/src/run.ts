import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
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

/**
 * Runs a host program on `input` and writes its stdout to the file `output`.
 * @throws ImageError as `run`
 */
export async function filter(
  file: string,
  args: readonly string[],
  input: Uint8Array,
  output: string,
  options: RunOptions = {},
): Promise<void> {
  const target = await open(output, 'w');
  try {
    const child = spawn(file, args, {
      env: environment,
      stdio: ['pipe', target.fd, 'pipe'],
      signal: options.signal,
    });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4096);
    });
    // A program that ends before it has read everything says why by its exit code.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
    const [code, signal] = (await once(child, 'close').catch((error) => {
      throw translate(error, file, args, said, options);
    })) as [number | null, NodeJS.Signals | null];
    if (code === 0) return;
    throw translate(
      Object.assign(new Error(`${file} failed`), { code: String(code), signal }),
      file,
      args,
      said,
      options,
    );
  } finally {
    await target.close();
  }
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
