import { Interrupts } from '../cli/interrupts.ts';
import { checkPreserveFds, createOptions } from '../cli/run-options.ts';
import { command } from '../command.ts';
import { createContainer } from '../container/create.ts';

export default command({
  options: createOptions,
  positionals: [1, 1],
  async run(values, [id = ''], context) {
    checkPreserveFds(values['preserve-fds']);
    const interrupts = new Interrupts(`creating container ${id}`);
    await using created = await createContainer(
      {
        id,
        bundle: values.bundle ?? '.',
        detach: true,
        consoleSocket: values['console-socket'],
        pidFile: values['pid-file'],
        keepsWatch: false,
      },
      context,
      interrupts.signal,
    );
    interrupts.hold();
    created.keep();
  },
});
