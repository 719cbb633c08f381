/**
 * Why a process could not be started, in runc's words (libcontainer/init_linux.go and standard_init_linux.go, Go's
 * os/exec): Docker and Podman look for them to choose 126 or 127, and people know them.
 */

import { CliError, ExitCode } from '../cli/errors.ts';
import { explain, isRpcError, type RpcErrorLike } from '../sandbox/agent.ts';
import type { ProcessSpec } from '../spec/spec.ts';

/** The agent says `not_found` for a command that is not there and `permission_denied` for one that may not run. */
const exitCodes: Readonly<Record<string, number>> = {
  not_found: ExitCode.notFound,
  permission_denied: ExitCode.notExecutable,
  unavailable: ExitCode.vmLost,
};

interface Start {
  /** What was to be started, where that is known. */
  readonly process?: ProcessSpec;
  /** The exit code for errors that are not the command's own. */
  readonly otherwise?: number;
}

export function startError(
  error: unknown,
  tried: string,
  { process, otherwise = ExitCode.failed }: Start = {},
): CliError {
  const words = isRpcError(error) && process !== undefined ? fault(error, process) : undefined;
  const code = isRpcError(error) ? exitCodes[error.code] : undefined;
  return new CliError(
    words === undefined ? explain(error, tried) : `${tried}: unable to start container process: ${words}`,
    { exitCode: code ?? otherwise, cause: error },
  );
}

/** What is wrong with the process itself; nothing when it is something else. */
function fault({ code, reason }: RpcErrorLike, { args = [], cwd }: ProcessSpec): string | undefined {
  const program = args[0] ?? '';
  if (code === 'permission_denied') return `exec: ${JSON.stringify(program)}: permission denied`;
  if (code === 'not_found') {
    const why = program.includes('/')
      ? `stat ${program}: no such file or directory`
      : 'executable file not found in $PATH';
    return `exec: ${JSON.stringify(program)}: ${why}`;
  }
  // crun: "chdir `/nope`: No such file or directory".
  const why = /chdir .*: (.*)$/.exec(reason)?.[1];
  if (why === undefined) return undefined;
  return `chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed: ${why.toLowerCase()}`;
}
