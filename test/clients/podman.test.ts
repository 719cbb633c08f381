/** Podman, which has no daemon: each container has a conmon that calls the runtime and keeps its streams. */
import { inject } from 'vitest';
import type { AtTerminal } from '../support/program.ts';
import { confined, plain } from './inside.ts';
import { oracle, type Side } from './oracle.ts';

const { same, shared, looks } = oracle({
  run: (runtime, name) =>
    `podman --runtime=${runtime} run --cgroup-parent=/${inject('world').env.CGROUP} --name=${name} --network=none`,
  cleanUp: 'podman rm --force --volumes --time=0 --ignore $C >/dev/null',
});

looks('podman run', plain);
looks('podman run, confined', confined);

same('both outputs and the exit code', "$RUN --rm $IMAGE sh -c 'echo out; echo err >&2; exit 42'");
same('stdin of 5 MB, and its end', 'head -c 5242880 /dev/zero | $RUN --rm -i $IMAGE sha256sum');
same('126: a file that is no program', '$RUN --rm $IMAGE /bin/plain-file 2>/dev/null');
same('127: not in PATH', '$RUN --rm $IMAGE nope 2>/dev/null');
same(
  'stop: SIGTERM is trapped',
  `
  $RUN -d $IMAGE sh -c 'trap "echo got TERM; exit 7" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
  eventually sh -c 'podman logs $C | grep ready'; podman stop -t 30 $C; podman logs $C; podman wait $C`,
);
same(
  'volumes: owner and mode on the host',
  `
  $RUN --rm -v $FOLDER:/data -v $C:/volume $IMAGE sh -c 'cd /data; echo x > f; chown 12:34 f; chmod 600 f; echo y > /volume/y'
  podman run --rm --runtime=$RUNTIME --network=none -v $C:/volume $IMAGE cat /volume/y; podman volume rm $C
  stat -c '%n %u:%g %a %s' $FOLDER/f`,
);

shared('podman exec', 'mkdir $FOLDER/data; $RUN -d -v $FOLDER/data:/data -e A=b -w /tmp $IMAGE sleep 1000', [
  ['both outputs and the exit code', "podman exec $C sh -c 'echo out; echo err >&2; exit 42'"],
  ['--env, --workdir', "podman exec -e X=y -w /bin $C sh -c 'pwd; env | sort'"],
  ['--user', 'podman exec -u user $C id'],
  ['--interactive: 5 MB, and their end', 'head -c 5242880 /dev/zero | podman exec -i $C sha256sum'],
  [
    '--detach',
    "podman exec -d $C sh -c 'echo made > /tmp/made' >/dev/null; eventually podman exec $C cat /tmp/made",
  ],
  ['no such command', 'podman exec $C nope 2>/dev/null'],
  [
    'pause, unpause',
    "podman pause $C >/dev/null; podman inspect -f '{{.State.Status}}' $C; podman unpause $C >/dev/null; podman exec $C echo goes on",
  ],
  [
    'cp both ways, a volume too, and nowhere else',
    'echo in > $FOLDER/in; podman cp $FOLDER/in $C:/tmp/in; podman exec $C cat /tmp/in; podman cp $C:/etc/passwd $FOLDER/out; cat $FOLDER/out; podman cp $FOLDER/in $C:/data/in; podman exec $C cat /data/in; podman cp $C:/data/in - | tar -xOf -',
  ],
  ['kill, wait', 'podman kill $C >/dev/null; podman wait $C'],
  [
    'start again, restart',
    'podman start $C >/dev/null; podman restart -t 0 $C >/dev/null; podman exec $C echo once more',
  ],
]);

same('run -it', async (side: Side) => {
  const line = `exec $RUN -it $IMAGE sh -c 'until [ "$(stty size 2>/dev/null)" = "31 97" ]; do sleep 0.1; done; echo sized; read line; echo "[$line]"; exit 5'`;
  await side.atTerminal(line, { columns: 97, rows: 31 }, async (terminal: AtTerminal) => {
    await terminal.shows('sized');
    terminal.type('word\r');
    const code = await terminal.ended();
    side.note({ code, shown: terminal.shown });
  });
});
