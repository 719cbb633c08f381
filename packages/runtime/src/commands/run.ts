import { CliError } from '../cli/errors.ts';
import { Interrupts } from '../cli/interrupts.ts';
import { checkPreserveFds, createOptions } from '../cli/run-options.ts';
import { command } from '../command.ts';
import { createContainer } from '../container/create.ts';
import { SignalForwarder, waitInForeground } from '../container/foreground.ts';
import { removeContainer } from '../container/remove.ts';
import { startContainer } from '../container/start.ts';

export default command({
  options: {
    ...createOptions,
    detach: { type: 'boolean', short: 'd', help: 'return once the process has started' },
    keep: { type: 'boolean', help: 'do not delete the container when its process has ended' },
    'no-subreaper': { type: 'boolean', help: 'accepted; has no effect' },
  },
  positionals: [1, 1],
  async run(values, [id = ''], context) {
    checkPreserveFds(values['preserve-fds']);
    const detach = values.detach === true;
    const keep = values.keep === true;
    const interrupts = new Interrupts(`running container ${id}`);
    await using created = await createContainer(
      {
        id,
        bundle: values.bundle ?? '.',
        detach,
        consoleSocket: values['console-socket'],
        pidFile: values['pid-file'],
        keepsWatch: !detach && !keep,
      },
      context,
      interrupts.signal,
    );
    const { sandbox, shim, console, terminal, state } = created;
    if (detach) {
      await startContainer(context, state, sandbox, interrupts.signal);
      interrupts.hold();
      created.keep();
      return 0;
    }
    // From here on signals are the container's: it may have something to say about one before we know it runs.
    interrupts.hold();
    let exitCode: number;
    {
      using signals = new SignalForwarder();
      signals.to(shim);
      await startContainer(context, state, sandbox);
      created.keep();
      exitCode = await waitInForeground(shim, console, terminal);
    }
    if (!keep) {
      try {
        using _lock = await context.store.lock(id);
        await removeContainer(context.store, id, context.log);
      } catch (error) {
        // `coracle delete --force` was quicker.
        if (!(error instanceof CliError && error.message.includes('does not exist'))) throw error;
      }
    }
    return exitCode;
  },
});
