import { command } from '../command.ts';
import { createContainer } from '../create-container.ts';
import { Interrupts } from '../interrupts.ts';
import { checkPreserveFds, createOptions } from '../run-options.ts';

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
