// What changes the machine runs in its own mount and UTS namespaces (and as root of its own user namespace, so
// that no privilege is needed where those are allowed); nothing of it is left on the host.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { setRealTime } from './clock.ts';
import { setInterfaceUp } from './interface.ts';
import { mount, unmount } from './mount.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-mount-'));
afterAll(() => rmSync(folder, { recursive: true }));

function inNamespaces(script: string): string {
  const source = `
    import * as sys from ${JSON.stringify(join(import.meta.dirname, 'index.ts'))};
    import fs from 'node:fs';
    import os from 'node:os';
    const folder = ${JSON.stringify(folder)};
    ${script}`;
  const args = [
    '--map-root-user',
    '--mount',
    '--uts',
    '--net',
    process.execPath,
    '--input-type=module',
    '-e',
    source,
  ];
  return execFileSync('unshare', args, { encoding: 'utf8' });
}

describe('mount and unmount', () => {
  it('mount with flags and options, remount, bind and take away', () => {
    const output = inNamespaces(`
      const lines = () => fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\\n').filter((line) => line.includes(folder));
      sys.mount('tmpfs', folder, 'tmpfs', ['nosuid', 'nodev', 'noexec'], 'mode=711,size=64k');
      console.log(lines()[0].split(' ').slice(5).join(' '), (fs.statSync(folder).mode & 0o777).toString(8));
      fs.mkdirSync(folder + '/inner');
      sys.mount(folder, folder + '/inner', null, ['bind']);
      sys.mount(null, folder + '/inner', null, ['remount', 'bind', 'ro', 'nosuid', 'nodev', 'noexec']);
      try { fs.writeFileSync(folder + '/inner/file', ''); } catch (error) { console.log(error.code); }
      console.log(lines().length);
      sys.unmount(folder + '/inner');
      sys.unmount(folder, { detach: true });
      console.log(lines().length);`);
    const [mounted, ...rest] = output.trim().split('\n');
    expect(mounted).toMatch(/nosuid,nodev,noexec.*tmpfs.*size=64k.* 711$/);
    expect(rest).toEqual(['EROFS', '2', '0']);
  });

  it('say what was mounted where', () => {
    const missing = join(folder, 'missing');
    expect(() => mount('tmpfs', missing, 'tmpfs', ['ro', 'nodev'], 'size=1m')).toThrow(
      new RegExp(
        `^mount on ${missing} tmpfs from tmpfs with ro,nodev \\(size=1m\\) failed: .*\\((ENOENT|EPERM)\\)$`,
      ),
    );
    expect(() => unmount(missing)).toThrow(/^umount2 on .*missing failed: .*\((ENOENT|EPERM)\)$/);
  });
});

describe('the machine', () => {
  it('takes a host name', () => {
    const before = hostname();
    expect(inNamespaces(`sys.setHostname('pod-1'); console.log(os.hostname());`)).toBe('pod-1\n');
    expect(hostname()).toBe(before);
    const tooLong = `try { sys.setHostname('x'.repeat(65)); } catch (error) { console.log(error.code); }`;
    expect(inNamespaces(tooLong)).toBe('EINVAL\n');
  });

  it('refuses a time that is none', () => {
    expect(() => setRealTime(-1n)).toThrow(/clock_settime on the wall clock failed: .*(EINVAL|EPERM)/);
  });
});

describe('setInterfaceUp', () => {
  it('switches an interface on, and says which is missing', () => {
    const output = inNamespaces(`
      const flags = () => Number(fs.readFileSync('/proc/net/dev').includes('lo:')) && os.networkInterfaces().lo;
      console.log(flags() === undefined);
      sys.setInterfaceUp('lo');
      console.log(os.networkInterfaces().lo[0].address);
      try { sys.setInterfaceUp('eth7'); } catch (error) { console.log(error.code, error.message); }`);
    expect(output.trim().split('\n')).toEqual(['true', '127.0.0.1', expect.stringMatching(/^ENODEV .*eth7/)]);
  });
  it('cuts a name that is too long for the kernel', () => {
    expect(() => setInterfaceUp('no-such-interface-of-a-very-long-name')).toThrow(/ENODEV|no such device/i);
  });
});
