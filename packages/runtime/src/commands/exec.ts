import { CliError, UsageError } from '../cli/errors.ts';
import { Interrupts } from '../cli/interrupts.ts';
import { checkPreserveFds, consoleOptions } from '../cli/run-options.ts';
import { command } from '../command.ts';
import { planConsole } from '../container/console.ts';
import { checkExecable, execFailed, execInContainer } from '../container/exec.ts';
import { execProcessSpec } from '../container/exec-process.ts';
import { restore, SignalForwarder, saveTerminal, waitInForeground } from '../container/foreground.ts';
import { checkContainerId } from '../container/ids.ts';
import { writePidFile } from '../container/pid-file.ts';
import { checkProcess, readBundleProcess, readProcessFile } from '../spec/bundle.ts';

export default command({
  options: {
    ...consoleOptions,
    cwd: {
      type: 'string',
      value: 'DIR',
      help: "working directory in the container (default: the container's)",
    },
    env: { type: 'string', short: 'e', multiple: true, value: 'NAME=VALUE', help: 'set a variable' },
    tty: { type: 'boolean', short: 't', help: 'give the process a terminal' },
    user: { type: 'string', short: 'u', value: 'UID[:GID]', help: 'who runs it' },
    'additional-gids': { type: 'string', short: 'g', multiple: true, value: 'GID', help: 'a further group' },
    process: {
      type: 'string',
      short: 'p',
      value: 'FILE',
      help: 'JSON of the whole process, in place of COMMAND',
    },
    detach: { type: 'boolean', short: 'd', help: 'return once the process has started' },
    cap: { type: 'string', short: 'c', multiple: true, value: 'CAP', help: 'add a capability' },
    'no-new-privs': { type: 'boolean', help: 'set no_new_privs' },
    apparmor: { type: 'string', value: 'PROFILE', help: 'AppArmor profile' },
    'process-label': { type: 'string', value: 'LABEL', help: 'SELinux label' },
    cgroup: {
      type: 'string',
      multiple: true,
      value: 'PATH',
      help: "only /: processes share the container's cgroup",
    },
    'ignore-paused': { type: 'boolean', help: 'do not refuse a paused container' },
  },
  positionals: [1, Number.POSITIVE_INFINITY],
  stopAtPositional: true,
  async run(values, [id = '', ...args], { store }) {
    checkPreserveFds(values['preserve-fds']);
    checkCgroups(values.cgroup);
    const detach = values.detach === true;
    if (values.process === undefined && args.length === 0) {
      throw new UsageError('process args cannot be empty: name a command after the container', {
        exitCode: execFailed,
      });
    }
    const state = find(() => store.read(checkContainerId(id)));
    if (!(values['ignore-paused'] === true && state.paused)) checkExecable(state);
    const spec = find(() =>
      values.process === undefined
        ? checkProcess(execProcessSpec(readBundleProcess(state.bundle), args, values), 'exec')
        : readProcessFile(values.process),
    );
    const console = planConsole(spec, { detach, consoleSocket: values['console-socket'] });
    const interrupts = new Interrupts(`exec in container ${id}`);
    using signals = new SignalForwarder();
    const terminal = saveTerminal(console);
    const shim = await execInContainer(store, state, spec, console, interrupts.signal).catch((error) => {
      restore(console, terminal);
      throw error;
    });
    // From here on signals are the process's.
    interrupts.hold();
    signals.to(shim, interrupts.late);
    if (values['pid-file'] !== undefined) writePidFile(values['pid-file'], shim.identity.pid);
    return detach ? 0 : await waitInForeground(shim, console, terminal);
  },
});

/** As `PATH` or `CONTROLLER:PATH`. @throws CliError for any but the container's own */
function checkCgroups(paths: readonly string[] = []): void {
  const other = paths.find((path) => !['', '/'].includes(path.slice(path.indexOf(':') + 1)));
  if (other === undefined) return;
  throw new CliError(
    `exec --cgroup ${other} cannot be done: what is exec'ed shares the container's cgroup in the guest; leave the flag out`,
    { exitCode: execFailed },
  );
}

/** runc's exec ends with 255 for whatever is wrong before there is a process. */
function find<T>(step: () => T): T {
  try {
    return step();
  } catch (cause) {
    if (!(cause instanceof CliError) || cause instanceof UsageError) throw cause;
    throw new CliError(`exec failed: ${cause.message}`, { exitCode: execFailed, cause });
  }
}
