/** containerd's runc shim calls Coracle by its option BinaryName, which is ctr's --runc-binary. */
import { oracle } from './oracle.ts';
import { coracle } from './world.ts';

const { same, shared } = oracle({
  run: (runtime) => `ctr run --runc-binary=${runtime === 'runc' ? '/usr/sbin/runc' : coracle}`,
  cleanUp: '{ ctr task kill -s KILL $C; ctr task rm -f $C; ctr container rm $C; } >/dev/null 2>&1; true',
});

// ctr 1.6 drops, with runc too, what it has not read when the program ends (containerd's pull requests 8643 and 13931): so
// a program ends with its stdin, and that when all it prints is in a file.

same(
  'both outputs and the exit code',
  `
  { eventually grep out $FOLDER/out; eventually grep err $FOLDER/err; } |
    $RUN --rm $IMAGE $C sh -c 'echo out; echo err >&2; cat; exit 42' >$FOLDER/out 2>$FOLDER/err
  echo $?; head $FOLDER/out $FOLDER/err`,
);
same(
  'stdin of 5 MB, and its end',
  `
  { head -c 5242880 /dev/zero; eventually grep -e - $FOLDER/sum; } |
    $RUN --rm $IMAGE $C sh -c 'head -c 5242880 | sha256sum; cat' >$FOLDER/sum
  cat $FOLDER/sum`,
);
same(
  '--env, --cwd, --mount, --read-only, --memory-limit',
  `
  eventually grep uid $FOLDER/shown |
    $RUN --rm --env A=b --cwd /tmp --read-only --memory-limit 100663296 --mount type=bind,src=$FOLDER,dst=/data,options=rbind:rw $IMAGE $C sh -c '
      exec 2>&1; pwd; echo $A; touch /x; echo made > /data/made; id; cat' >$FOLDER/shown
  stat -c '%n %u:%g %s' $FOLDER/made; cat $FOLDER/shown`,
);
same('no such command', '$RUN --rm $IMAGE $C nope');

shared('a task', '$RUN -d $IMAGE $C sleep 1000', [
  [
    'exec',
    `{ eventually grep out $FOLDER/out; eventually grep err $FOLDER/err; } |
       ctr task exec --exec-id e1 $C sh -c 'echo out; echo err >&2; cat; exit 42' >$FOLDER/out 2>$FOLDER/err
     echo $?; head $FOLDER/out $FOLDER/err`,
  ],
  [
    'exec with stdin',
    `{ echo through; eventually grep through $FOLDER/cat; } | ctr task exec --exec-id e2 $C cat >$FOLDER/cat
     cat $FOLDER/cat`,
  ],
  [
    'exec --user, --cwd',
    `eventually grep /bin $FOLDER/id |
       ctr task exec --exec-id e3 --user 1000:1000 --cwd /bin $C sh -c "id; pwd; cat" >$FOLDER/id
     cat $FOLDER/id`,
  ],
  ['no such command', 'ctr task exec --exec-id e4 $C nope'],
  [
    'its pid is alive',
    "kill -0 $(ctr task ls | awk -v c=$C '$1 == c { print $2, $3 }' | cut -d' ' -f1) && ctr task ls | awk -v c=$C '$1 == c { print $3 }'",
  ],
  [
    'pause, resume',
    `ctr task pause $C; ctr task ls | awk -v c=$C '$1 == c { print $3 }'; ctr task resume $C
     eventually grep goes $FOLDER/on | ctr task exec --exec-id e5 $C sh -c 'echo goes on; cat' >$FOLDER/on
     cat $FOLDER/on`,
  ],
  ['metrics', "ctr task metrics $C | awk '/^memory.usage/ { print ($2 > 0) }'"],
  [
    'kill, and the task is gone',
    "ctr task kill -s KILL $C; eventually sh -c 'ctr task ls | grep $C | grep STOPPED'; ctr task rm $C; ctr container rm $C; ctr container ls -q | grep -c $C",
  ],
]);

same('run --tty', async (side) => {
  const line = `exec $RUN --rm --tty $IMAGE $C sh -c 'until [ "$(stty size 2>/dev/null)" = "31 97" ]; do sleep 0.1; done; echo sized; read line; echo "[$line]"; stty -echo; echo silent; read line; exit 5'`;
  await side.atTerminal(line, { columns: 97, rows: 31 }, async (terminal) => {
    await terminal.shows('sized');
    terminal.type('word\r');
    await terminal.shows('silent');
    terminal.type('\r');
    const code = await terminal.ended();
    side.note({ code, shown: terminal.shown });
  });
});
