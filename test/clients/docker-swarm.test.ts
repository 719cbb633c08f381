/**
 * Docker Swarm with one node. A service has its runtime from the daemon's default, so the runtimes take turns: each row is run
 * on runc's service, then on Coracle's. What a virtual address needs (IP_VS) this kernel may not have, on runc neither, so names
 * go round robin and ports are the host's.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ended } from '../support/program.ts';
import { makeDefault } from './docker.ts';
import { type Runtime, Side } from './oracle.ts';

const engine = {
  run: (_: Runtime, name: string) => `docker run --rm --network=${name}`,
  cleanUp: `
    docker service ls -q --filter name=$C | xargs -r docker service rm >/dev/null
    eventually sh -c '! docker ps -aq --filter label=com.docker.swarm.service.name=$C | grep .'
    eventually sh -c '! docker network ls -q --filter name=^$C$ | grep . || docker network rm $C'`,
};

/** What each task serves, one line for each. */
const each = (file: string) =>
  `for port in $(docker ps -q --filter label=com.docker.swarm.service.name=$C | xargs -I {} docker port {} 80/tcp | grep ^0.0.0.0); do eventually busybox wget -qO - http://$port/${file}; busybox wget -qO - http://$port/${file}; done`;
const tasks = "docker service ls --filter name=$C --format '{{.Mode}} {{.Replicas}}'";

/** What `docker service ls` says of them, once it says that there are as many as asked for. */
const settled = (count: number) => `eventually sh -c "${tasks} | grep ' ${count}/${count}'"; ${tasks}`;

const rows: readonly (readonly [title: string, line: string, printed: string])[] = [
  [
    'replicas with a published port each',
    `docker service create -q --no-resolve-image --name=$C --network=$C --endpoint-mode=dnsrr --replicas=2 --stop-grace-period=1s --update-monitor=1s --publish=mode=host,target=80 --env=V=1 $IMAGE sh -c 'mkdir /www; echo $V > /www/v; hostname > /www/h; exec httpd -f -p 80 -h /www' >/dev/null
     ${settled(2)}; ${each('v')}`,
    'replicated 2/2\n1\n1\n',
  ],
  ['its name has the address of each', '$RUN $IMAGE nslookup -type=a $C | grep -c "^Address: "', '2\n'],
  [
    'and leads to each',
    "$RUN $IMAGE sh -c 'for i in $(seq 30); do wget -qO - http://$0/h; done' $C | sort -u | wc -l",
    '2\n',
  ],
  [
    'tasks find one another',
    `for c in $(docker ps -q --filter label=com.docker.swarm.service.name=$C); do docker exec $c nslookup -type=a tasks.$C | grep -c "^Address: "; done`,
    '2\n2\n',
  ],
  [
    'scaling up',
    `docker service scale $C=3 >/dev/null; ${settled(3)}; ${each('h')} | sort -u | wc -l`,
    'replicated 3/3\n3\n',
  ],
  [
    'a rolling update',
    `docker service update -q --no-resolve-image --env-add=V=2 $C >/dev/null; docker service inspect -f '{{.UpdateStatus.State}}' $C; ${settled(3)}; ${each('v')}`,
    'completed\nreplicated 3/3\n2\n2\n2\n',
  ],
  [
    'taking it back',
    `docker service rollback -q $C >/dev/null; ${settled(3)}; ${each('v')}`,
    'replicated 3/3\n1\n1\n1\n',
  ],
  [
    'a task that is killed is replaced',
    `docker kill $(docker ps -q --filter label=com.docker.swarm.service.name=$C | head -n 1) >/dev/null
     eventually sh -c 'docker service ps $C | grep -q Failed && [ $(docker ps -q --filter label=com.docker.swarm.service.name=$C | wc -l) = 3 ]'; ${each('v')}`,
    '1\n1\n1\n',
  ],
  [
    'scaling down',
    `docker service scale $C=1 >/dev/null; eventually sh -c '[ $(docker ps -q --filter label=com.docker.swarm.service.name=$C | wc -l) = 1 ]'; ${settled(1)}; ${each('v')}`,
    'replicated 1/1\n1\n',
  ],
  [
    'its end',
    `docker service rm $C >/dev/null; eventually sh -c '! docker ps -aq --filter label=com.docker.swarm.service.name=$C | grep .'; docker service ls -q`,
    '',
  ],
];

describe('a service', () => {
  const found: Ended[][] = [];
  let one: Side | undefined;

  beforeAll(async () => {
    for (const runtime of ['runc', 'coracle'] as const) {
      await using side = new Side(runtime, 1, engine);
      one ??= side;
      if (runtime === 'runc')
        await side.must('docker swarm init --advertise-addr=127.0.0.1 --listen-addr=127.0.0.1:2377');
      await makeDefault(side);
      await side.must('docker network create --driver=overlay --attachable $C');
      const ended: Ended[] = [];
      for (const [, line] of rows) ended.push(await side.sh(line));
      found.push(ended);
    }
  });
  afterAll(async () => {
    await one?.must(
      'docker swarm leave --force; eventually sh -c "! docker network ls -q --filter driver=overlay | grep ."',
    );
  });

  test.each(rows.map(([title, , printed], index) => [title, index, printed] as const))(
    '%s',
    (_, index, printed) => {
      for (const ended of found) expect(ended[index]).toEqual({ code: 0, stdout: printed, stderr: '' });
      expect(found).toHaveLength(2);
    },
  );
});
