/** Detached containers, what is told of them at each stage, and two that do not see each other. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn, waitForExit, waitPid } from '@coracle/sys';
import { describe, expect, test } from 'vitest';
import { coracleProgram, type Place, until } from './place.ts';

export function lifecycleSuite(place: () => Place): void {
  describe('a detached container', () => {
    test('is told of rightly at each stage; its output goes where stdio pointed', async () => {
      const id = place().newId();
      const out = join(place().folder, `${id}.out`);
      const script = 'echo begun; trap "echo told; exit 3" TERM; while :; do sleep 0.05; done';
      const bundle = place().bundle(['sh', '-c', script]);
      const fd = openSync(out, 'w');
      const pid = spawn({
        file: coracleProgram,
        args: [coracleProgram, ...place().arguments(['run', '-d', '--bundle', bundle, id])],
        env: { ...place().env },
        descriptors: { 1: fd, 2: fd },
      });
      closeSync(fd);
      await waitForExit(pid);
      expect({ status: waitPid(pid), said: readFileSync(out, 'utf8').replace('begun\n', '') }).toEqual({
        status: 0,
        said: '',
      });
      expect(await place().status(id)).toBe('running');
      await until(() => readFileSync(out, 'utf8') === 'begun\n', 'its output is in the file');

      expect((await place().coracle(['list', '-q'])).stdout).toBe(`${id}\n`);
      const listed = JSON.parse((await place().coracle(['list', '--format', 'json'])).stdout);
      expect(listed).toMatchObject([{ id, status: 'running', bundle, pid: place().files(id).shim!.pid }]);
      expect(await place().coracle(['exec', id, 'sh', '-c', 'echo in; exit 4'])).toEqual({
        code: 4,
        stdout: 'in\n',
        stderr: '',
      });
      const refused = await place().coracle(['delete', id]);
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('not stopped: running') });

      expect((await place().coracle(['kill', id])).code).toBe(0);
      await until(async () => (await place().status(id)) === 'stopped', 'it has stopped');
      expect(readFileSync(out, 'utf8')).toBe('begun\ntold\n');
      expect(JSON.parse(readFileSync(join(place().root, id, 'exit.json'), 'utf8'))).toMatchObject({
        cause: 'exited',
        exitCode: 3,
      });
      expect((await place().coracle(['exec', id, 'true'])).code).toBe(255);
      expect(await place().coracle(['delete', id])).toEqual({ code: 0, stdout: '', stderr: '' });
      expect((await place().coracle(['state', id])).code).toBe(1);
      expect((await place().coracle(['list', '-q'])).stdout).toBe('');
      await place().expectNothingLeft();
    });
  });

  describe('two containers', () => {
    test('do not see each other', async () => {
      const ids = [place().newId(), place().newId()];
      try {
        for (const id of ids) {
          const bundle = place().bundle(['sh', '-c', `hostname ${id} 2>&1; exec sleep 100000`], (config) => {
            Object.assign(config, { hostname: `host-${id}` });
          });
          expect(
            await place().coracle(['run', '-d', '--bundle', bundle, id], { deadlineMs: 120_000 }),
          ).toMatchObject({ code: 0 });
        }
        const machines = [];
        for (const id of ids) {
          const script =
            'ps -o args; cat /proc/sys/kernel/random/boot_id; mkdir -p /dev/mark-$1; ls -d /dev/mark-*';
          const { code, stdout } = await place().coracle(['exec', id, 'sh', '-c', script, 'sh', id]);
          expect(code).toBe(0);
          expect(stdout.match(/^sleep 100000/gm)).toHaveLength(1);
          expect(stdout.match(/^\/dev\/mark-.*/gm)).toEqual([`/dev/mark-${id}`]);
          machines.push(/^[0-9a-f-]{36}$/m.exec(stdout)![0]);
        }
        // Kernels of their own, and so is everything that a kernel has.
        if (place().driver === 'qemu') {
          const here = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
          expect(new Set([...machines, here]).size).toBe(3);
        }
        expect((await place().coracle(['list', '-q'])).stdout).toBe(`${[...ids].sort().join('\n')}\n`);
        // The end of one is nothing to the other.
        expect((await place().coracle(['delete', '--force', ids[0]!])).code).toBe(0);
        expect((await place().coracle(['exec', ids[1]!, 'echo', 'here'])).stdout).toBe('here\n');
      } finally {
        for (const id of ids) await place().coracle(['delete', '--force', id]);
      }
      expect(existsSync(join(place().root, ids[0]!))).toBe(false);
      await place().expectNothingLeft();
    });
  });
}
