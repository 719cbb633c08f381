/** containerd's runc shim calls Coracle by its option BinaryName, which is ctr's --runc-binary. */
import { oracle } from './oracle.ts';
import { coracle } from './world.ts';

const { same, shared } = oracle({
  run: (runtime) => `ctr run --runc-binary=${runtime === 'runc' ? '/usr/sbin/runc' : coracle}`,
  cleanUp: '{ ctr task kill -s KILL $C; ctr task rm -f $C; ctr container rm $C; } >/dev/null 2>&1; true',
});

same('both outputs and the exit code', "$RUN --rm $IMAGE $C sh -c 'echo out; echo err >&2; exit 42'");
same('stdin of 5 MB, and its end', 'head -c 5242880 /dev/zero | $RUN --rm $IMAGE $C sha256sum');
same(
  '--env, --cwd, --mount, --read-only, --memory-limit',
  `
  $RUN --rm --env A=b --cwd /tmp --read-only --memory-limit 100663296 --mount type=bind,src=$FOLDER,dst=/data,options=rbind:rw $IMAGE $C sh -c '
    pwd; echo $A; touch /x; echo made > /data/made; id'
  stat -c '%n %u:%g %s' $FOLDER/made`,
);
same('no such command', '$RUN --rm $IMAGE $C nope');

shared('a task', '$RUN -d $IMAGE $C sleep 1000', [
  ['exec', "ctr task exec --exec-id e1 $C sh -c 'echo out; echo err >&2; exit 42'"],
  ['exec with stdin', 'echo through | ctr task exec --exec-id e2 $C cat'],
  ['exec --user, --cwd', 'ctr task exec --exec-id e3 --user 1000:1000 --cwd /bin $C sh -c "id; pwd"'],
  ['no such command', 'ctr task exec --exec-id e4 $C nope'],
  [
    'its pid is alive',
    "kill -0 $(ctr task ls | awk -v c=$C '$1 == c { print $2, $3 }' | cut -d' ' -f1) && ctr task ls | awk -v c=$C '$1 == c { print $3 }'",
  ],
  [
    'pause, resume',
    "ctr task pause $C; ctr task ls | awk -v c=$C '$1 == c { print $3 }'; ctr task resume $C; ctr task exec --exec-id e5 $C echo goes on",
  ],
  ['metrics', "ctr task metrics $C | awk '/^memory.usage/ { print ($2 > 0) }'"],
  [
    'kill, and the task is gone',
    "ctr task kill -s KILL $C; eventually sh -c 'ctr task ls | grep $C | grep STOPPED'; ctr task rm $C; ctr container rm $C; ctr container ls -q | grep -c $C",
  ],
]);

same('run --tty', async (side) => {
  const line = `exec $RUN --rm --tty $IMAGE $C sh -c 'until [ "$(stty size 2>/dev/null)" = "31 97" ]; do sleep 0.1; done; echo sized; read line; echo "[$line]"; exit 5'`;
  await side.atTerminal(line, { columns: 97, rows: 31 }, async (terminal) => {
    await terminal.shows('sized');
    terminal.type('word\r');
    const code = await terminal.ended();
    side.note({ code, shown: terminal.shown });
  });
});
