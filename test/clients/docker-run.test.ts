/** `docker run`: exit codes, streams, and what a container sees of its options. */
import { finds, looks, same } from './docker.ts';
import { confined, plain, privileged } from './inside.ts';

looks('a container without options', plain);
looks('a confined container', confined);
finds('a privileged container', privileged);
finds('a soft limit of files below the hard one', [
  ['--ulimit', '--ulimit=nofile=100:200', 'ulimit -n; ulimit -Hn', /^100\n200\n/],
]);

same('both outputs and the exit code', "$RUN --rm $IMAGE sh -c 'echo out; echo err >&2; exit 42'");
same('stdin of 5 MB, and its end', 'head -c 5242880 /dev/zero | $RUN --rm -i $IMAGE sha256sum');
same('stdout of 5 MB', '$RUN --rm $IMAGE head -c 5242880 /dev/zero | sha256sum');
same('125, which is the engine: no such image', '$RUN --rm nothing.invalid/nope true 2>/dev/null');
same('126: a folder', '$RUN --rm $IMAGE /tmp');
same('126: a file that is no program', '$RUN --rm $IMAGE /bin/plain-file');
same('127: not in PATH', '$RUN --rm $IMAGE nope');
same('127: no such file', '$RUN --rm $IMAGE /nope');
same('a working folder that is made', '$RUN --rm -w /made/by/docker $IMAGE pwd');
same('the working folder is a file', '$RUN --rm -w /etc/passwd $IMAGE true');
same(
  '137: killed by docker',
  '$RUN -d $IMAGE sleep 1000 >/dev/null; docker kill $C >/dev/null; docker wait $C',
);
same(
  'a signal to the client reaches the program',
  `$RUN $IMAGE sh -c 'trap "echo got it; exit 9" TERM; echo ready; while :; do sleep 0.1; done' &
   logged $C ready; kill -TERM $!; wait $!`,
);
