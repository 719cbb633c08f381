/** Docker at a terminal: we sit at a pty, type what people type, and see what they see. */
import type { AtTerminal } from '../support/program.ts';
import { same } from './docker.ts';
import type { Side } from './oracle.ts';

const size = { columns: 97, rows: 31 };

/** Types and looks, then notes what was shown from first to last, and the exit code. */
const at = (line: string, use: (terminal: AtTerminal, side: Side) => Promise<void>) => (side: Side) =>
  side.atTerminal(line, size, async (terminal) => {
    await use(terminal, side);
    const code = await terminal.ended();
    side.note({ code, shown: terminal.shown });
  });

const waitForSize = (rows: number, columns: number) =>
  `until [ "$(stty size 2>/dev/null)" = "${rows} ${columns}" ]; do sleep 0.1; done; echo ${rows} by ${columns}`;
// Docker may tell a size twice, and a shell's `read` ends at a signal that it traps.
const sizes = `trap w=1 WINCH; tty; ${waitForSize(31, 97)}; w=; ${waitForSize(40, 100)}; trap - WINCH; echo "WINCH=$w"`;
const resize = async (terminal: AtTerminal) => {
  await terminal.shows('31 by 97');
  terminal.resize({ columns: 100, rows: 40 });
  await terminal.shows('WINCH=');
};

same(
  'run -it: its size, a resize, lines, the end of input, the exit code',
  at(
    `SCRIPT='${sizes}; read line; echo "got $line"; cat; echo cat has ended; exit 5'; exec $RUN -it $IMAGE sh -c "$SCRIPT"`,
    async (terminal) => {
      await resize(terminal);
      terminal.type('hello\r');
      await terminal.shows('got hello');
      terminal.type('abc\r');
      await terminal.shows('abc\r\nabc');
      terminal.type('\x04');
    },
  ),
);

same(
  'exec -it: the same, and Ctrl-C',
  at(
    `$RUN -d $IMAGE sleep 1000 >/dev/null
   SCRIPT='${sizes}; trap "echo interrupted; exit 6" INT; echo ready; while :; do sleep 0.1; done'; exec docker exec -it $C sh -c "$SCRIPT"`,
    async (terminal) => {
      await resize(terminal);
      await terminal.shows('ready');
      terminal.type('\x03');
    },
  ),
);

same('detach keys, attach, and the log', async (side) => {
  await side.must(`$RUN -itd $IMAGE sh -c 'echo up; while read line; do echo "[$line]"; done; exit 4'`);
  await side.must('logged $C up');
  await at('exec docker attach $C', async (terminal) => {
    await terminal.raw();
    terminal.type('one\r');
    await terminal.shows('[one]');
    terminal.type('\x10\x11');
  })(side);
  side.note(await side.sh('state $C {{.Status}}'));
  await at('exec docker attach --detach-keys=ctrl-x $C', async (terminal) => {
    await terminal.raw();
    terminal.type('two\r');
    await terminal.shows('[two]');
    terminal.type('\x04');
  })(side);
  side.note(await side.sh('docker wait $C; docker logs $C'));
});

same('a terminal that is hung up leaves its container running', async (side) => {
  await side.must(`$RUN -itd $IMAGE sh -c 'trap "echo hung up" HUP; echo up; read line; echo "[$line]"'`);
  await side.must('logged $C up');
  await side.atTerminal('exec docker attach $C', size, async (terminal) => {
    await terminal.raw();
    terminal.type('not yet');
    await terminal.shows('not yet');
    terminal.type('\x15');
    await terminal.shows('\b \b'.repeat('not yet'.length));
  });
  side.note(await side.sh('state $C {{.Status}}'));
  await at('exec docker attach $C', async (terminal) => {
    await terminal.raw();
    terminal.type('still here\r');
    await terminal.shows('[still here]');
  })(side);
});

same(
  'create -it, start -ai',
  at(
    `docker create -it --name=$C --runtime=$RUNTIME --network=none $IMAGE sh -c 'echo up; read line; echo "[$line]"; exit 3' >/dev/null
     exec docker start -ai $C`,
    async (terminal) => {
      await terminal.shows('up');
      terminal.type('word\r');
    },
  ),
);

same(
  '-t without input: every line of a flood',
  '$RUN -t $IMAGE seq 1 30000 | sha256sum; docker logs $C | sha256sum',
);
