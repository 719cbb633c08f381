/** One running container, and everything that is done to a running container. */
import { shared } from './docker.ts';

const memoryLimit =
  "sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max'";

shared('docker exec', '$RUN -d -i -e A=b -w /tmp -m 128m $IMAGE cat', [
  ['both outputs and the exit code', "docker exec $C sh -c 'echo out; echo err >&2; exit 42'"],
  ['ended by a signal', "docker exec $C sh -c 'kill -9 $$'"],
  ['the environment and folder of the container', "docker exec $C sh -c 'pwd; env | sort'"],
  ['--env, --workdir', "docker exec -e X=y -e A=c -w /bin $C sh -c 'pwd; env | sort'"],
  ['--user by name', 'docker exec -u user $C id'],
  ['--user by numbers', 'docker exec -u 1234:5678 $C id'],
  [
    'capabilities, and without',
    'docker exec $C grep ^Cap /proc/self/status; docker exec -u user $C grep ^Cap /proc/self/status',
  ],
  ['--interactive: 5 MB, and their end', 'head -c 5242880 /dev/zero | docker exec -i $C sha256sum'],
  ['no stdin', "echo nobody reads this | docker exec $C sh -c 'wc -c; readlink /proc/self/fd/0'"],
  ['--tty', "docker exec -t $C sh -c 'tty; test -t 0 && test -t 1 && test -t 2 && echo all three'"],
  [
    '--detach',
    "docker exec -d $C sh -c 'echo made > /tmp/detached'; eventually docker exec $C cat /tmp/detached",
  ],
  ['no such command', 'docker exec $C nope'],
  ['a file that is no program', 'docker exec $C /bin/plain-file'],
  ['no such working folder', 'docker exec -w /nope $C true'],
  [
    'ten at once',
    'for i in 0 1 2 3 4 5 6 7 8 9; do docker exec $C sh -c "exit $i" & p="$p $!"; done; for i in $p; do wait $i; echo $?; done',
  ],
  ['top', "docker top $C -o pid,args | sed 's/^ *[0-9]* *//'"],
  [
    'stats',
    "docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' $C | sed 's/[1-9][0-9.]*[KMG]iB/SIZE/g'",
  ],
  [
    'pause, unpause',
    'docker pause $C; state $C {{.Status}}; docker exec $C true; docker unpause $C; docker exec $C echo goes on',
  ],
  ['update', `docker update -m 96m --memory-swap -1 $C; docker exec $C ${memoryLimit}`],
  [
    'cp into it, over what it has seen',
    "docker exec $C sh -c 'echo old > /tmp/f; cat /tmp/f /tmp/new'; echo new > $FOLDER/f; docker cp $FOLDER/f $C:/tmp/f; docker cp $FOLDER/f $C:/tmp/new; eventually docker exec $C grep -x new /tmp/f; docker exec $C cat /tmp/f /tmp/new",
  ],
  [
    'cp out of it',
    "docker exec $C sh -c 'mkdir /d; seq 1 20000 > /d/f; chown 7:8 /d/f; touch -d @1000000000 /d/f'; docker cp -a $C:/d $FOLDER; stat -c '%u:%g %Y %s' $FOLDER/d/f",
  ],
  ['diff', 'docker exec $C touch /etc/made; docker diff $C | grep etc'],
  [
    'export',
    'docker exec $C touch /exported; docker export $C | tar -tf - | grep -E "^(exported|etc/passwd|bin/busybox)$"',
  ],
  [
    'commit',
    "docker exec $C sh -c 'echo kept > /kept'; docker commit $C $C >/dev/null; docker run --rm --runtime=$RUNTIME --network=none $C cat /kept; docker rmi -f $C >/dev/null",
  ],
  ['port, inspect: its pid is alive', 'kill -0 $(state $C {{.Pid}}) && echo alive'],
  [
    'attach, and the end of stdin',
    // dockerd closes the outputs of such an attach at the end of its stdin, whatever is on its way.
    '(echo through cat; eventually grep through $FOLDER/shown) | docker attach $C > $FOLDER/shown & eventually grep through $FOLDER/shown; docker stop -t 0 $C; wait; cat $FOLDER/shown; docker logs $C',
  ],
  ['exec in a container that has ended', 'docker exec $C true'],
  ['start again', 'docker start $C >/dev/null; docker exec $C cat /kept; docker rm -f $C'],
]);
