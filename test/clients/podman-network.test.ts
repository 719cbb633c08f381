/** Podman's networks: netavark makes them, and has the namespace ready before the runtime is called; aardvark-dns has the names. */
import { inject } from 'vitest';
import { oracle, type Side } from './oracle.ts';

const { shared } = oracle({
  run: (runtime, name) =>
    `podman --runtime=${runtime} run --cgroup-parent=/${inject('world').env.CGROUP} --name=${name}`,
  cleanUp: `
    podman ps -aq --filter name=^$C | xargs -r podman rm --force --volumes --time=0 >/dev/null
    podman network ls -q --filter name=^$C | xargs -r podman network rm >/dev/null`,
});

/** Serves one file of 5 MB, and its sum. */
const server = `sh -c 'mkdir /www; head -c 5000000 /dev/urandom > /www/f; sha256sum < /www/f > /www/sum; echo up; exec httpd -f -p 80 -h /www'`;
/** Fetches it from $0 and says whether it is what the server has. */
const fetch = `sh -c '[ "$(wget -qO - http://$0/f | sha256sum)" = "$(wget -qO - http://$0/sum)" ] && echo fetched'`;
const more = 'podman --runtime=$RUNTIME run --rm --cgroup-parent=/$CGROUP';
const field = (name: string, network = '$C-a') =>
  `$(podman inspect -f '{{(index .NetworkSettings.Networks "'${network}'").${name}}}' $C)`;
/** A line that has to succeed: two that fail alike would be equal, too. */
const must = (line: string) => async (side: Side) => side.note(await side.must(line));

shared(
  'networks of the user',
  `
  podman network create $C-a >/dev/null; podman network create --ipv6 $C-b >/dev/null
  $RUN -d --network=$C-a --network-alias=server -p 127.0.0.1::80 $IMAGE ${server} >/dev/null
  eventually sh -c 'podman logs $C | grep up'`,
  [
    [
      'addresses, routes, MTU, MAC',
      must(
        `podman exec $C sh -c 'ip -o -4 addr show eth0 | grep -c $0/24; ip route | grep -c default; cat /sys/class/net/eth0/mtu; grep -c $1 /sys/class/net/eth0/address' ${field('IPAddress')} ${field('MacAddress')}`,
      ),
    ],
    [
      'from the host, by its address',
      must(`${fetch.replace('sh -c', 'busybox sh -c')} ${field('IPAddress')}`),
    ],
    [
      'from the host, by the published port',
      must(`${fetch.replace('sh -c', 'busybox sh -c')} $(podman port $C 80/tcp)`),
    ],
    ['by name', must(`${more} --network=$C-a $IMAGE ${fetch} $C`)],
    ['by alias', must(`${more} --network=$C-a $IMAGE ${fetch} server`)],
    [
      'not from another network',
      `${more} --network=$C-b $IMAGE wget -qO - -T 2 http://${field('IPAddress')}/f 2>&1 | tail -n 1`,
    ],
    [
      'connect while it runs',
      must(
        `podman network connect $C-b $C; eventually podman exec $C ip link show eth1; ${more} --network=$C-b $IMAGE ${fetch} ${field('IPAddress', '$C-b')}`,
      ),
    ],
    [
      'IPv6',
      must(
        `${more} --network=$C-b $IMAGE ping -6 -c 1 -W 10 ${field('GlobalIPv6Address', '$C-b')} | grep -o "1 packets received"`,
      ),
    ],
    [
      'disconnect',
      must(
        `podman network disconnect $C-b $C; eventually sh -c '! podman exec $C ip link show eth1'; podman exec $C ip -o link | grep -c eth`,
      ),
    ],
    [
      'restart, and it still serves',
      must(
        `podman restart -t 0 $C >/dev/null; eventually sh -c '[ $(podman logs $C | grep -c up) = 2 ]'; ${more} --network=$C-a $IMAGE ${fetch} $C`,
      ),
    ],
  ],
);
