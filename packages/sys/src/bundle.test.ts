// The guest runs this package as one bundled file with koffi.node beside it and no node_modules anywhere.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'coracle-bundle-'));
afterAll(() => rmSync(folder, { recursive: true }));

const program = `
  import { close, decodeWaitStatus, openPty, openStream, pipe2, PtyStream, reap, spawn, waitForExit } from './index.ts';
  const pty = openPty({ columns: 90, rows: 30 });
  new PtyStream(pty.master).on('data', (bytes) => process.stdout.write(bytes));
  const env = { PATH: '/bin:/usr/bin' };
  const pid = spawn({ file: '/bin/sh', args: ['sh', '-c', 'stty size; exit 7'], env, terminal: pty.slavePath, newSession: true, descriptors: {} });
  close(pty.slave);
  waitForExit(pid).then(() => reap().forEach(({ status }) => console.log(JSON.stringify(decodeWaitStatus(status)))));
  const pipe = pipe2();
  openStream(pipe.read).on('data', (bytes) => console.log(String(bytes)));
  openStream(pipe.write).end('through a pipe');
`;

const addon = () => {
  const fromKoffi = createRequire(createRequire(import.meta.url).resolve('koffi'));
  return join(dirname(fromKoffi.resolve('@koromix/koffi-linux-x64')), 'linux_x64', 'koffi.node');
};

async function bundle(outfile: string, format: 'esm' | 'cjs'): Promise<void> {
  const stdin = { contents: program, resolveDir: import.meta.dirname, loader: 'ts' as const };
  // import.meta is empty in CommonJS, which koffi.ts counts on
  const logOverride = { 'empty-import-meta': 'silent' as const };
  await build({ stdin, bundle: true, platform: 'node', target: 'node24', format, outfile, logOverride });
}

const runAlone = (file: string) => {
  const options = { cwd: '/', env: {}, stdio: 'pipe', encoding: 'utf8' } as const;
  return execFileSync(process.execPath, ['--pending-deprecation', '--throw-deprecation', file], options);
};

describe('a bundle away from node_modules', () => {
  it.each([
    ['esm', 'agent.mjs'],
    ['cjs', 'agent.cjs'],
  ] as const)('works as %s and warns of nothing', async (format, name) => {
    const file = join(folder, name);
    await bundle(file, format);
    copyFileSync(addon(), join(folder, 'koffi.node'));
    const lines = runAlone(file).split(/\r?\n/);
    expect(lines).toEqual(expect.arrayContaining(['30 90', 'through a pipe', '{"kind":"exited","code":7}']));
    rmSync(join(folder, 'koffi.node'));
    expect(() => runAlone(file)).toThrow(/put koffi\.node beside the bundle or install the dependencies/);
  });
});
