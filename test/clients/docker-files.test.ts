/** Volumes, bind mounts and what the host sees of files that a container has written; images that are built in one. */
import { describe } from 'vitest';
import { makeDefault, same } from './docker.ts';

same(
  'a bind mount: owner, mode, times and kinds on the host',
  `
  $RUN --rm -v $FOLDER:/data $IMAGE sh -c '
    cd /data; echo text > file; chown 1234:5678 file; chmod 4640 file; ln file hard; ln -s file soft; mkfifo fifo
    mkdir -m 1777 dir; touch -d @1000000000 old; truncate -s 1m hole; touch new; chown 1:2 soft'
  cd $FOLDER; stat -c '%n %F %a %u:%g %h %s %b' *; stat -c %Y old; readlink soft
  [ $(($(date +%s) - $(stat -c %Y new))) -lt 100 ] && echo now`,
);
same(
  'as another user',
  `chmod 777 $FOLDER; $RUN --rm -u 1000:1000 -v $FOLDER:/data $IMAGE sh -c 'cd /data; touch file; mkdir dir; chown 0 file'; stat -c '%n %u:%g %a' $FOLDER/*`,
);
same(
  'bind mounts of a file, read-only, of a folder in a folder',
  `
  mkdir -p $FOLDER/a/b $FOLDER/b; echo one > $FOLDER/file; echo two > $FOLDER/a/two
  $RUN --rm -v $FOLDER/file:/etc/one -v $FOLDER/a:/a:ro -v $FOLDER/b:/a/b $IMAGE sh -c '
    cat /etc/one /a/two; echo more >> /etc/one; touch /a/x; touch /a/b/y; ls /a'
  cat $FOLDER/file; ls $FOLDER/b`,
);
same(
  'a bind mount is followed both ways',
  `
  $RUN -d -v $FOLDER:/data $IMAGE sh -c 'while [ ! -e /data/go ]; do sleep 0.1; done; cat /data/go > /data/answer; cat /data/go' >/dev/null
  echo question > $FOLDER/.go; mv $FOLDER/.go $FOLDER/go; docker wait $C; cat $FOLDER/answer`,
);
same(
  'a volume outlives its container, and brings what the image has there',
  `
  for i in 1 2; do docker run --rm --runtime=$RUNTIME --network=none -v named-$C:/etc $IMAGE sh -c 'ls /etc; touch /etc/made'; done
  docker volume rm named-$C >/dev/null`,
);
same(
  '--volumes-from',
  `$RUN -v /data $IMAGE sh -c 'echo theirs > /data/f'; docker run --rm --name=$C-2 --runtime=$RUNTIME --network=none --volumes-from=$C $IMAGE cat /data/f`,
);
same(
  '--mount of a tmpfs, with sub-folders of others',
  `$RUN --rm --mount type=tmpfs,dst=/t,tmpfs-size=1048576 --mount type=bind,src=$FOLDER,dst=/t/x,readonly $IMAGE sh -c 'df -k /t | tail -n 1; touch /t/y /t/x/y; ls /t'`,
);
same(
  'a lock is seen by others of the same container',
  `$RUN --rm -v $FOLDER:/data $IMAGE sh -c 'cd /data; flock f sleep 1000 & sleep 0.5; flock -n f true; echo $?; flock -n g true; echo $?'`,
);

describe('the default runtime', () => {
  // What is built and run without a word about runtimes.
  same('docker build', async (side) => {
    // One daemon has one default: the sides take turns.
    await turn(async () => {
      await makeDefault(side);
      side.note(
        await side.sh(`
        printf 'FROM %s\\nRUN echo made > /made && id\\nWORKDIR /w\\nCOPY f .\\nUSER 1000\\nRUN cat f; id -u\\nCMD cat /made\\n' $IMAGE > $FOLDER/Dockerfile
        echo copied > $FOLDER/f
        docker build -q --network=none --no-cache -t $C $FOLDER >/dev/null && docker run --rm --network=none $C; docker rmi -f $C >/dev/null`),
      );
    });
  });
});

let last: Promise<unknown> = Promise.resolve();
function turn<T>(work: () => Promise<T>): Promise<T> {
  const mine = last.then(work);
  last = mine.catch(() => {});
  return mine;
}
