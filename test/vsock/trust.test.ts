/** Who may open a link over AF_VSOCK: on a host every user can connect to a guest, and in it every container. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectVsock, openStream, readLinkRecord, type VsockConnectOptions } from '@coracle/sys';
import { createLocalDriver, stopVm } from '@coracle/vm';
import { Connection, Role, RpcError } from '@coracle/wire';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { within } from '../support/wait.ts';
import { checkout } from './guest.ts';

const directory = mkdtempSync(join(tmpdir(), 'coracle-trust-'));
beforeAll(async () => {
  const driver = createLocalDriver({ agentEntry: join(checkout, 'dist/agent/agent.js'), transport: 'vsock' });
  await driver.start({ directory, image: '', memoryBytes: 0, vcpus: 1, shares: [] });
});
afterAll(async () => {
  await stopVm(directory, true);
  rmSync(directory, { recursive: true });
});

/** Greets as a proxy does. @returns `open`, or why it ended */
async function greet(
  options: VsockConnectOptions,
): Promise<{ state: string; connection: Connection; ended: Promise<string> }> {
  const { address } = readLinkRecord(directory);
  if (address.kind !== 'vsock') throw new Error(`the link is ${address.kind}`);
  const socket = openStream(await connectVsock(address, options), { allowHalfOpen: false });
  const opened = Promise.withResolvers<string>();
  const ended = Promise.withResolvers<string>();
  const connection = new Connection(
    socket,
    { role: Role.proxy, opener: true },
    {
      open: () => opened.resolve('open'),
      frame: () => undefined,
      closed: (reason) => {
        opened.resolve(reason.message);
        ended.resolve(reason.message);
      },
    },
  );
  return {
    state: await within(opened.promise, 30_000, 'the agent answers'),
    connection,
    ended: ended.promise,
  };
}

test('the agent takes no link from a port that everybody may use', async () => {
  const { state } = await greet({});
  expect(state).toMatch(/unavailable/);
});

test('the agent takes one from a reserved port, and a new one replaces the old one', async () => {
  const first = await greet({ reservedPort: true });
  expect(first.state).toBe('open');
  // Refused, so it does not disturb the one that is there.
  expect((await greet({})).state).not.toBe('open');
  expect(first.connection.isOpen).toBe(true);
  const second = await greet({ reservedPort: true });
  expect(second.state).toBe('open');
  expect(await within(first.ended, 30_000, 'the first ends')).toMatch(
    /another connection has taken the link over/,
  );
  second.connection.close(new RpcError('cancelled', 'enough'));
});
