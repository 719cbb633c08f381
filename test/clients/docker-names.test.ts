/** Names on networks of the user: Docker's name server at 127.0.0.11, which listens on the host's side of the container. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, inject } from 'vitest';
import { run } from '../support/program.ts';
import { Daemon } from './daemon.ts';
import { oracle, type Side } from './oracle.ts';
import { enter } from './world.ts';

const { same, shared } = oracle({
  run: (runtime, name) => `docker run --runtime=${runtime} --name=${name}`,
  cleanUp:
    'docker ps -aq --filter name=^/$C | xargs -r docker rm -fv >/dev/null; docker network ls -q --filter name=^$C | xargs -r docker network rm >/dev/null',
});

/** Where containers reach it by the address of their bridge. */
let outside: Daemon;
beforeAll(async () => {
  const world = inject('world');
  outside = await Daemon.start({
    command: enter(world.pid, [process.execPath, fileURLToPath(new URL('dns-server.mjs', import.meta.url))]),
    env: world.env,
    logFile: join(world.folder, 'dns-server.log'),
    answers: async () => {
      const [file, ...args] = enter(world.pid, [
        'busybox',
        'nslookup',
        '-type=a',
        'outside.example',
        '127.0.0.1',
      ]);
      return (await run(file, args, { env: world.env })).code === 0;
    },
  });
});
afterAll(() => outside?.[Symbol.asyncDispose]());

/** A line that has to succeed: two that fail alike would be equal, too. */
const must = (line: string) => async (side: Side) => side.note(await side.must(line));
/** What a name stands for, with the address of `$C-other` in words. */
const lookUp = (name: string) =>
  must(
    `docker exec $C nslookup -type=a ${name} | grep -A9 Name | sed "s/ $(address $C-other $C)$/ its address/"`,
  );

/** A query for the address of outside.example, as TCP wants it, and what comes back. */
const byTcp = String.raw`printf '\0\41\1\2\1\0\0\1\0\0\0\0\0\0\7outside\7example\0\0\1\0\1' | nc -w 20 127.0.0.11 53 | hexdump -C`;

shared(
  'a network of the user',
  `
  docker network create $C >/dev/null; G=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' $C)
  docker run -d --runtime=runc --name=$C-other --network=$C --network-alias=alias $IMAGE sleep 1000 >/dev/null
  $RUN -d --network=$C --dns=$G $IMAGE sleep 1000 >/dev/null`,
  [
    ['the name server and where it is', 'docker exec $C cat /etc/resolv.conf'],
    ['a name', lookUp('$C-other')],
    ['an alias', lookUp('alias')],
    ['an address', must(`docker exec $C nslookup $(address $C-other $C) | grep -o 'name = [^.]*.[^.]*$'`)],
    [
      'no such name',
      'docker exec $C nslookup -type=a nobody.example; docker exec $C ping -c 1 nobody.example',
    ],
    ['a name that Docker asks others for', lookUp('outside.example')],
    ['by TCP', must(`docker exec $C sh -c "${byTcp.replaceAll('\\', '\\\\')}" | grep '00 02 07  '`)],
    [
      '100 names at once',
      `docker exec $C sh -c 'for i in $(seq 100); do nslookup -type=a $0 >/dev/null && echo found & done; wait' $C-other | sort | uniq -c`,
    ],
    [
      'the port 53 is free',
      "docker exec -d $C sh -c 'nc -l -p 53 </etc/hostname'; docker exec $C hostname; eventually docker exec $C sh -c 'nc -w 5 127.0.0.1 53 | cmp - /etc/hostname'",
    ],
    [
      'and it still answers when what carries it was killed',
      'pkill -KILL -f "[c]oracle-proxy.*$CORACLE_RUN"; eventually docker exec $C nslookup -type=a $C-other && echo answers',
    ],
    [
      'a container that comes later, and goes',
      'docker run -d --runtime=$RUNTIME --name=$C-late --network=$C $IMAGE sleep 1000 >/dev/null; docker exec $C ping -c 1 -W 10 $C-late | grep -o "1 packets received"; docker exec $C-late ping -c 1 -W 10 $C | grep -o "1 packets received"; docker rm -f $C-late >/dev/null; docker exec $C nslookup -type=a $C-late >/dev/null; echo $?',
    ],
  ],
);

same(
  'a container of the default bridge that is connected while it runs',
  `
  docker network create $C >/dev/null; $RUN -d $IMAGE sleep 1000 >/dev/null
  docker run -d --runtime=runc --name=$C-other --network=$C $IMAGE sleep 1000 >/dev/null
  docker exec $C nslookup -type=a $C-other >/dev/null 2>&1 || echo unknown
  docker network connect $C $C; eventually docker exec $C nslookup -type=a $C-other && echo known
  docker exec $C cat /etc/resolv.conf`,
);

same(
  'a network that Docker has made without a way out',
  `
  docker network create --internal $C >/dev/null
  docker run -d --runtime=$RUNTIME --name=$C-other --network=$C $IMAGE sleep 1000 >/dev/null
  $RUN --rm --network=$C $IMAGE ping -c 1 -W 10 $C-other | grep -o "1 packets received"`,
);
