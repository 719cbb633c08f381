/** What is left on the host after much has been run and killed, and when much starts at once. */
import { statSync } from 'node:fs';
import { expect, inject, test } from 'vitest';
import { until } from '../support/wait.ts';
import { inside, leftovers } from './world.ts';

const world = inject('world');
const run = 'docker run --runtime=coracle --network=none';
const create = 'docker create --runtime=coracle --network=none';
/** A generator of its own, so that a failure can be repeated. */
const seed = Number(process.env.SEED ?? Date.now() % 100_000);

/** Everything that containers can have left is gone; only the proxy leaves in its own time. */
async function nothingMoreThan(before: readonly string[]): Promise<void> {
  const more = () => leftovers(world).filter((thing) => !before.includes(thing));
  await until(
    () => more().length === 0,
    () => `nothing is left; seed ${seed}:\n${more().join('\n')}`,
    120_000,
  );
}

test('8 containers that are started at once', async () => {
  const before = leftovers(world);
  const { code, stdout, stderr } = await inside(
    world,
    `for i in 0 1 2 3 4 5 6 7; do ${run} --rm $IMAGE sh -c "exit $i" & pids="$pids $!"; done
     for pid in $pids; do wait $pid; echo $?; done`,
  );
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '0\n1\n2\n3\n4\n5\n6\n7\n', stderr: '' });
  await nothingMoreThan(before);
});

test('a churn of 30 starts, execs and stops, six at a time, on a network with names', {
  timeout: 1_200_000,
}, async () => {
  const before = leftovers(world);
  await inside(world, 'docker network create churn >/dev/null');
  const life = `
    docker run -d --runtime=coracle --network=churn --name=$C $IMAGE sh -c 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done' >/dev/null
    logged $C up; docker exec $C echo $C; docker exec -i $C wc -c < /bin/busybox
    docker exec $C nslookup -type=a $C | grep -c ^Name; docker stop -t 60 $C; state $C {{.ExitCode}}; docker rm $C`;
  const size = statSync('/bin/busybox').size;
  let next = 0;
  const lane = async () => {
    while (next < 30) {
      const name = `churn${next++}`;
      const ended = await inside(world, life, { env: { C: name } });
      const stdout = [name, size, 1, name, 7, name, ''].join('\n');
      expect(ended).toEqual({ code: 0, stdout, stderr: '' });
    }
  };
  await Promise.all(Array.from({ length: 6 }, lane));
  expect(await inside(world, 'docker network rm churn')).toMatchObject({ code: 0 });
  await nothingMoreThan(before);
});

/** How a life of a container ends, in lines of shell; $C is its name. */
const ends = [
  'docker rm -f $C',
  'docker stop -t 0 $C; docker rm $C',
  'docker kill $C; docker wait $C; docker rm $C',
  // Its shim, its VM, its file server: whoever dies first, docker can remove the rest.
  'kill -9 $(state $C {{.Pid}}); docker wait $C; docker rm $C',
  'kill -9 $(pgrep -P $(engine_shim $C) qemu); docker rm -f $C',
  'kill -9 $(pgrep -P $(engine_shim $C) virtiofsd); docker rm -f $C',
  'kill -9 $(pgrep -f "[c]oracle-proxy.*$CORACLE_RUN"); docker exec $C true; docker rm -f $C',
  // dockerd 20.10 tells no client of an exec whose end comes after the container's ("exit event … no such container").
  'timeout 5 docker exec $C sleep 1000 & docker exec -d $C sleep 1000; docker rm -f $C; wait',
  'docker pause $C; docker rm -f $C',
];
/** Starts that do not get far. */
const failures = [
  `${run} --rm --name=$C $IMAGE nope`,
  // Not of a run: dockerd goes on with the create of a client that was killed, and what it makes may come after the rm.
  `${create} --rm --name=$C $IMAGE sleep 1000; timeout -s KILL 0.$DIGIT docker start -a $C; docker rm -f $C`,
  `ID=$(${create} --name=$C $IMAGE sleep 1000); docker start $C & client=$!
   until pid=$(pgrep -f "[c]oracle.js.* create.*$ID") || ! kill -0 $client; do :; done; kill -9 $pid; wait; docker rm -f $C`,
];

test('100 random runs and kills', { timeout: 1_800_000 }, async () => {
  let state = seed;
  const pick = (count: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 16) % count;
  };
  const before = leftovers(world);
  // Two at a time: as many as CI's machine has processors.
  const lane = async (name: string, lives: readonly string[]) => {
    for (const [index, life] of lives.entries()) {
      const env = { C: `${name}${index}`, DIGIT: String(1 + pick(9)) };
      const ended = await inside(world, life, { env });
      // One with --rm may be on its way out already, and then `docker rm` does not wait for it.
      const gone = await inside(world, `eventually sh -c '! docker ps -aqf name=^/$C$ | grep .'`, { env });
      expect(gone.code, `seed ${seed}: ${life}\n${ended.stdout}${ended.stderr}${gone.stderr}`).toBe(0);
    }
  };
  const life = () =>
    pick(3) === 0
      ? failures[pick(failures.length)]!
      : `${run} -d --name=$C $IMAGE sleep 1000; ${ends[pick(ends.length)]}`;
  const lives = Array.from({ length: 100 }, life);
  await Promise.all([lane('a', lives.slice(0, 50)), lane('b', lives.slice(50))]);
  await nothingMoreThan(before);
});
