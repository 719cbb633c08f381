import { type ChildProcess, execFile, spawn } from 'node:child_process';
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

export interface Printed {
  stdout: string;
  stderr: string;
}

/** The host's tools must print, sort and date the same for every user; those of ext4 take 0 for "now". */
const environment = {
  ...process.env,
  // Where the tools of ext4 and verity are; not in the path of plain users.
  PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
  LC_ALL: 'C',
  TZ: 'UTC',
  SOURCE_DATE_EPOCH: '0',
  E2FSPROGS_FAKE_TIME: '1',
  MKE2FS_CONFIG: '/dev/null',
};

/**
 * Runs a host program to its end and returns its stdout.
 * @throws ImageError `tool-missing`, `tool-failed` (with the last lines of stderr) or `interrupted`.
 */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return (await runBoth(file, args, options)).stdout;
}

/** As `run`, for programs that say on stderr alone that they failed. */
export function runBoth(file: string, args: readonly string[], options: RunOptions = {}): Promise<Printed> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        env: environment,
        maxBuffer: 64 << 20,
        signal: options.signal,
        ...(options.cwd ? { cwd: options.cwd } : {}),
      },
      (error, stdout, stderr) => {
        if (!error || (options.anyExitCode && typeof error.code === 'number'))
          return resolve({ stdout, stderr });
        const translated = translate(error as NodeJS.ErrnoException, file, args, stderr, options);
        afterExit(child, () => reject(translated));
      },
    );
  });
}

/** An abort is reported before the program has ended; what it still writes would outlive the tidying up. */
function afterExit(child: ChildProcess, then: () => void): void {
  const ended = child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  if (ended) then();
  else child.once('exit', then);
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
    return new ImageError('tool-missing', `${file} is needed and is not on this machine${remedy}`);
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
