/**
 * An image of one's own, as docs/images.md tells it: its commands are run as they stand there, up to a container in a
 * VM that sees what the boot hook did. And a recipe on top of that one whose hook fails does not boot, and says why.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { Coracle } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import { bootFailure, createQemuDriver, type VmStartError } from '@coracle/vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage } from '../../packages/image/src/index.ts';
import { checkout, Place } from '../contract/place.ts';

let place: Place;
beforeAll(() => {
  place = new Place('qemu');
});
afterAll(() => place[Symbol.asyncDispose]());

/** The commands of a section's console blocks, each with what it prints. */
function commandsOf(page: string, section: string): { command: string; output: string }[] {
  const text = page.split(`\n## ${section}\n`)[1]?.split('\n## ')[0] ?? '';
  const blocks = [...text.matchAll(/```console\n(.*?)```/gs)].map((block) => block[1] ?? '');
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .filter(Boolean)
      .map((step) => ({ command: step.split('\n', 1)[0]!, output: step.slice(step.indexOf('\n') + 1) })),
  );
}

test('the steps of "An image of your own" print what the page says', async () => {
  const page = readFileSync(join(checkout, 'docs/images.md'), 'utf8');
  const steps = commandsOf(page, 'An image of your own');
  expect(steps.length).toBeGreaterThan(5);
  const here = (text: string) =>
    text.replaceAll('/checkout/out/', 'out/').replaceAll(/(?<![\w/])out\//g, `${place.folder}/`);
  for (const { command, output } of steps) {
    const typed = here(command).replace('bin/coracle run', `bin/coracle --root ${place.root} run`);
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', typed], {
      cwd: checkout,
      env: { ...process.env, ...place.env },
    });
    expect({ command, output: stdout }).toEqual({ command, output: here(output) });
  }
  await place.expectNothingLeft();
});

test('a boot hook that fails ends the boot, and the error names it', async () => {
  const recipe = join(place.folder, 'failing');
  mkdirSync(recipe);
  writeFileSync(
    join(recipe, 'image.toml'),
    `format = 1
name = "failing"
extends = "${relative(recipe, join(checkout, 'images/example'))}"

[[hooks]]
name = "20-fails"
text = """#!/bin/sh
echo "$PATH $PWD $(tr '\\\\0' ' ' < /proc/1/cmdline)"
exit 3
"""

[[hooks]]
name = "30-never"
text = "#!/bin/sh"
`,
  );
  const output = join(place.folder, 'failing-image');
  const lock = join(checkout, 'images/images.lock.json');
  await buildImage({ recipe, output, lock, agent: join(checkout, 'dist/agent'), useCache: false });

  const sandboxes = join(place.runFolder, 'own');
  mkdirSync(sandboxes, { recursive: true });
  const socket = join(place.folder, 'p.sock');
  const proxy = new ProxyServer({ sandboxes });
  await proxy.listen(socket);
  try {
    const coracle = new Coracle({ proxy: socket, sandboxes });
    const vm = createQemuDriver({ accel: 'tcg', template: 'off' });
    const error: VmStartError = await coracle.startSandbox({ vm, image: output, bootFailure }).then(
      () => expect.unreachable('the sandbox started'),
      (reason) => reason,
    );
    expect(error).toMatchObject({ code: 'boot-failed' });
    expect(error.message).toContain('the guest says: boot hook 20-fails: exited with 3');
    const { consoleLines } = error.report;
    const first = consoleLines.indexOf('coracle-boot: hook 10-example');
    expect(consoleLines.slice(first, first + 5)).toEqual([
      'coracle-boot: hook 10-example',
      'hello from the example image',
      'coracle-boot: hook 20-fails',
      '/usr/bin / /usr/bin/node --snapshot-blob=/opt/coracle/agent.blob /opt/coracle/init',
      'coracle-boot: failed: boot hook 20-fails: exited with 3',
    ]);
  } finally {
    await proxy.close();
  }
});
