import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { close, write } from './fd.ts';
import { findPort, hostConnected, openPort, setAsync } from './port.ts';
import { openPty, openSlaveOf } from './pty.ts';
import { socketPair } from './socket.ts';
import { until } from './testing.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-port-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('findPort', () => {
  it('finds a port by the name in sysfs', () => {
    for (const [port, name] of Object.entries({ vport1p1: 'org.other', vport2p3: 'coracle.link.0' })) {
      mkdirSync(join(folder, port));
      writeFileSync(join(folder, port, 'name'), `${name}\n`);
    }
    mkdirSync(join(folder, 'vport0p0'));
    expect(findPort('coracle.link.0', folder)).toBe('/dev/vport2p3');
    expect(findPort('missing', folder)).toBeUndefined();
    expect(findPort('any', join(folder, 'none'))).toBeUndefined();
  });
});

// There is no virtio port on a host; a pty master hangs up and comes back in the same way (POLLHUP while
// nobody has the slave open), and a socket sends SIGIO.
describe('a port without a port', () => {
  it('sees the hang-up and the return', () => {
    const pty = openPty();
    expect(hostConnected(pty.master)).toBe(true);
    close(pty.slave);
    expect(hostConnected(pty.master)).toBe(false);
    const slave = openSlaveOf(pty.master);
    expect(hostConnected(pty.master)).toBe(true);
    close(slave);
    close(pty.master);
  });

  it('is told by SIGIO, and no more after that is off', async () => {
    let count = 0;
    const onSignal = () => count++;
    process.on('SIGIO', onSignal);
    const [left, right] = socketPair();
    setAsync(left, true);
    write(right, Buffer.from('x'));
    await until(() => count > 0);
    setAsync(left, false);
    const before = count;
    write(right, Buffer.from('y'));
    // Signals arrive in the order in which they were sent.
    const marker = once(process, 'SIGUSR2');
    process.kill(process.pid, 'SIGUSR2');
    await marker;
    expect(count).toBe(before);
    process.off('SIGIO', onSignal);
    close(left);
    close(right);
  });

  it('says what cannot be opened', () => {
    expect(() => openPort('/dev/vport99p9')).toThrow(
      'open on /dev/vport99p9 failed: no such file or directory (ENOENT)',
    );
  });
});
