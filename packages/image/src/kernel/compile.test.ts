import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compile } from './compile.ts';

let tree: string;
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'coracle-kernel-'));
});
afterEach(() => rmSync(tree, { recursive: true }));

/** Pids of what works in a folder. */
function processesIn(folder: string): string[] {
  const works = (pid: string) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === folder;
    } catch {
      return false;
    }
  };
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && works(name));
}

function makefile(recipe: string): void {
  writeFileSync(join(tree, 'Makefile'), `all:\n${recipe.replaceAll(/^/gm, '\t')}\n`);
}

test("what the kernel's make says it makes is counted; the caller's environment does not reach it", async () => {
  process.env.MAKEFLAGS = '-n';
  try {
    makefile(
      '@echo "  CC      init/main.o"\n@echo "  AR      built-in.a"\n@echo "note: $$WHO"; test -z "$$USER"',
    );
    const updates: string[] = [];
    await compile(tree, ['all'], { WHO: 'us' }, (text) => updates.push(text));
    expect(updates).toEqual(['1 files', '2 files']);
  } finally {
    delete process.env.MAKEFLAGS;
  }
});

test('a failure tells the last words of make', async () => {
  makefile('@echo "  CC      a.o"\n@echo "a.c:1: error: no such luck" >&2\n@exit 3');
  await expect(compile(tree, ['all'], {}, () => {})).rejects.toMatchObject({
    code: 'tool-failed',
    message: expect.stringContaining('a.c:1: error: no such luck'),
  });
});

test('interrupted, it ends when all that make has started has ended: the tree can be removed then', async () => {
  makefile('@(sleep 100) & echo "  CC      a.o"; sleep 100');
  const interrupt = new AbortController();
  const running = compile(tree, ['all'], {}, () => interrupt.abort(), interrupt.signal);
  await expect(running).rejects.toMatchObject({ code: 'interrupted' });
  expect(processesIn(tree)).toEqual([]);
});
