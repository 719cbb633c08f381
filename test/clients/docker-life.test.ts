/** How containers end, and how they begin again. */
import { same } from './docker.ts';

const trapping = `sh -c 'trap "echo got TERM; exit 7" TERM; trap "echo got USR1" USR1; echo ready; while :; do sleep 0.1; done'`;
const end = "state $C '{{.Status}} {{.ExitCode}} {{.OOMKilled}} {{.Error}}'";

same(
  '-d, logs -f, wait',
  `$RUN -d $IMAGE sh -c 'seq 1 20000; exit 3' >/dev/null; docker logs -f $C | sha256sum; docker wait $C; ${end}`,
);
same(
  'kill -s, stop: SIGTERM is trapped',
  `$RUN -d $IMAGE ${trapping} >/dev/null; logged $C ready; docker kill -s USR1 $C; logged $C USR1; docker stop -t 30 $C; docker logs $C; ${end}`,
);
same('stop: SIGTERM is ignored', `$RUN -d $IMAGE sleep 1000 >/dev/null; docker stop -t 1 $C; ${end}`);
same(
  '--stop-signal',
  `$RUN -d --stop-signal=USR1 $IMAGE sh -c 'trap "exit 3" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null; logged $C ready; docker stop -t 30 $C; ${end}`,
);
same(
  'restart keeps the files',
  `$RUN -d $IMAGE sh -c 'cat /count; echo once >> /count; echo ready; sleep 1000' >/dev/null; logged $C ready; docker restart -t 0 $C; eventually sh -c 'docker logs $C | grep -q once'; docker logs $C`,
);
same(
  '--restart=on-failure:2',
  `$RUN -d --restart=on-failure:2 $IMAGE sh -c 'echo run; exit 1' >/dev/null; eventually sh -c 'docker inspect -f "{{.RestartCount}} {{.State.Status}}" $C | grep "2 exited"'; docker logs $C; ${end}`,
);
same(
  '--restart=always after a kill from outside',
  `$RUN -d --restart=always $IMAGE sleep 1000 >/dev/null; kill -9 $(state $C {{.Pid}}); eventually sh -c 'docker inspect -f "{{.RestartCount}} {{.State.Status}}" $C | grep "1 running"'; docker stop -t 0 $C; ${end}`,
);
same(
  'create, start -a, and again',
  `docker create --name=$C --runtime=$RUNTIME --network=none $IMAGE sh -c 'echo more >> /f; cat /f' >/dev/null; docker start -a $C; docker start -a $C`,
);
same(
  '--rm takes the anonymous volume along',
  "$RUN --rm -v /data $IMAGE sh -c 'echo x > /data/x'; docker ps -aqf name=$C; docker volume ls -qf dangling=true | grep -v ^named",
);
same(
  'health',
  `$RUN -d --health-cmd='test -e /tmp/ok' --health-interval=300ms --health-retries=2 $IMAGE sleep 1000 >/dev/null
  is() { eventually sh -c 'docker inspect -f {{.State.Health.Status}} $C | grep -x '$1 && echo $1; }
  is unhealthy; docker exec $C touch /tmp/ok; is healthy`,
);
same('out of memory', `$RUN -m 32m --memory-swap 32m $IMAGE tail /dev/zero; echo $?; ${end}`, {
  // OOMKilled: Docker looks for it in the host's cgroup, where nothing was killed (docs/resources.md).
  except: (text) => text.replace(/137 (true|false)/, '137'),
});
same(
  'one that cannot start leaves no more than one can remove',
  `$RUN $IMAGE nope 2>/dev/null; ${end}; docker rm $C`,
);
same(
  'SIGKILL of the shim is the end of the container',
  `$RUN -d $IMAGE sleep 1000 >/dev/null; kill -9 $(state $C {{.Pid}}); docker wait $C; ${end}`,
);
