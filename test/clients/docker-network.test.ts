/** Docker's networks: the default bridge, networks of the user, published ports, and what changes while one runs. */
import { expect, inject, test } from 'vitest';
import { oracle } from './oracle.ts';
import { inside } from './world.ts';

const { same, shared } = oracle({
  run: (runtime, name) => `docker run --runtime=${runtime} --name=${name}`,
  cleanUp:
    'docker ps -aq --filter name=^/$C | xargs -r docker rm -fv >/dev/null; docker network ls -q --filter name=^$C | xargs -r docker network rm >/dev/null',
});

/** Serves one file of 5 MB, again and again. */
const server = `sh -c 'mkdir /www; head -c 5000000 /dev/urandom > /www/f; sha256sum < /www/f > /www/sum; echo up; exec httpd -f -p 80 -h /www'`;
/** Fetches it from $1 and says whether it is what the server has. */
const fetch = `sh -c '[ "$(wget -qO - http://$0/f | sha256sum)" = "$(wget -qO - http://$0/sum)" ] && echo fetched'`;
const more = 'docker run --rm --runtime=$RUNTIME';

same('the default bridge: addresses, routes, MTU, resolv.conf, hosts', async (side) => {
  side.note(
    await side.sh(`
    $RUN --hostname=h $IMAGE sh -c '
      ip -o link | sed "s/^[0-9]*: //; s/@if[0-9]*//" | grep -v LOOPBACK | cut -d" " -f1-5; ip route | sed "s/[0-9.]* *$//"
      cat /sys/class/net/eth0/mtu; cat /etc/resolv.conf; grep -c h /etc/hosts
      [ "$(cat /sys/class/net/eth0/address | cut -d: -f1-2)" = 02:42 ] && echo the MAC is Docker\\'s'`),
  );
});

shared(
  'a server on the default bridge',
  `$RUN -d -p 127.0.0.1::80 $IMAGE ${server} >/dev/null; logged $C up`,
  [
    ['from the host, by its address', `H=$(address $C); ${fetch.replace('sh -c', 'busybox sh -c')} $H`],
    [
      'from the host, by the published port',
      `P=$(docker port $C 80/tcp); ${fetch.replace('sh -c', 'busybox sh -c')} $P`,
    ],
    ['from a container, by its address', `${more} $IMAGE ${fetch} $(address $C)`],
    ['ping from a container', `${more} $IMAGE ping -c 1 -W 5 $(address $C) | grep -o "1 packets received"`],
  ],
);

shared(
  'networks of the user',
  `
  docker network create $C-a >/dev/null; docker network create --ipv6 --subnet fd00:$(echo $C | cksum | cut -c1-4)::/64 $C-b >/dev/null
  $RUN -d --network=$C-a --network-alias=server $IMAGE ${server} >/dev/null; logged $C up`,
  [
    ['by name', `${more} --network=$C-a $IMAGE ${fetch} $C`],
    ['by alias', `${more} --network=$C-a $IMAGE ${fetch} server`],
    [
      'not from another network',
      `${more} --network=$C-b $IMAGE wget -qO - -T 2 http://$C/f 2>&1 | tail -n 1`,
    ],
    [
      'connect while it runs',
      `docker network connect $C-b $C; eventually docker exec $C ip link show eth1; ${more} --network=$C-b $IMAGE ${fetch} $(address $C $C-b)`,
    ],
    [
      'IPv6',
      `docker exec $C sh -c 'ip -6 -o addr show eth1 | grep -c fd00'; ${more} --network=$C-b $IMAGE ping -6 -c 1 -W 5 $(address $C $C-b GlobalIPv6Address) | grep -o "1 packets received"`,
    ],
    [
      'disconnect',
      `docker network disconnect $C-b $C; eventually sh -c '! docker exec $C ip link show eth1'; docker exec $C ip -o link | grep -c eth`,
    ],
    [
      'pause, unpause, and it still serves',
      `docker pause $C >/dev/null; docker unpause $C >/dev/null; ${more} --network=$C-a $IMAGE ${fetch} $(address $C $C-a)`,
    ],
    [
      'restart, and it still serves',
      `docker restart -t 0 $C >/dev/null; eventually sh -c '[ $(docker logs $C | grep -c up) = 2 ]'; ${more} --network=$C-a $IMAGE ${fetch} $(address $C $C-a)`,
    ],
  ],
);

// A VM has a network stack of its own, which is nobody else's; runc would share one.
test.each([
  ['host', /a virtual machine cannot share it.*publish its ports/s],
  ['container:other', /process \d+ has it already.*one virtual machine, which is not supported/s],
  ['container:runc', /process \d+ has it already.*one virtual machine, which is not supported/s],
])('--network=%s is refused, and the message says why', async (network, message) => {
  // Of another container's it would take the interfaces away; with --network=none there would be nothing to notice.
  const runtime = network === 'container:runc' ? 'runc' : 'coracle --network=none';
  const other = `docker run -d --name=${network.slice('container:'.length)} --runtime=${runtime} $IMAGE sleep 1000 >/dev/null`;
  const { code, stderr } = await inside(
    inject('world'),
    `${network === 'host' ? 'true' : other}
     docker run --rm --runtime=coracle --network=${network} $IMAGE true; code=$?; docker rm -f other runc >/dev/null 2>&1; exit $code`,
  );
  expect(code).toBe(125);
  expect(stderr).toMatch(message);
});
