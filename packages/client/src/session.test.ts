import { writeFileSync } from 'node:fs';
import { type CodeName, FrameType, RpcError } from '@coracle/wire';
import { expect, test } from 'vitest';
import type { ProcessHandle } from './channel.ts';
import { Session } from './session.ts';
import { ScriptedPeer } from './testing.ts';

const handle: ProcessHandle = {
  process: 5,
  token: Buffer.alloc(16, 7),
  terminal: false,
  stdin: true,
  pid: 9,
};
const piped = { stdout: 'pipe', stderr: 'pipe', sole: true } as const;

async function bound() {
  const peer = new ScriptedPeer();
  await peer.listen();
  const session = new Session('box', { socketPath: peer.socketPath });
  await session.bind();
  return { peer, session };
}

test('binds to the sandbox that was asked for', async () => {
  const { peer, session } = await bound();
  await using _ = peer;
  expect((await peer.next(FrameType.BIND)).payload.toString()).toBe('box');
  session.close();
});

test.each<CodeName>(['not_found', 'unavailable', 'permission_denied', 'failed_precondition'])(
  'takes GOAWAY %s for the last word',
  async (code) => {
    await using peer = new ScriptedPeer();
    await peer.listen();
    peer.onBind = (connection) => connection.close(new RpcError(code, 'no'));
    const session = new Session('box', { socketPath: peer.socketPath });
    await expect(session.bind()).rejects.toMatchObject({ code, reason: 'no' });
    expect(peer.connections).toHaveLength(1);
    await expect(session.call('getAgentDetails', {})).rejects.toMatchObject({ code });
  },
);

test('comes again after GOAWAY aborted', async () => {
  await using peer = new ScriptedPeer();
  await peer.listen();
  peer.onBind = (connection, count) => {
    if (count < 4) connection.close(new RpcError('aborted', 'come again'));
    else connection.send({ type: FrameType.BOUND });
  };
  const session = new Session('box', { socketPath: peer.socketPath });
  await session.bind();
  expect(peer.connections).toHaveLength(4);
  session.close();
});

test('repeats an unanswered request under the same key on the next connection', async () => {
  const { peer, session } = await bound();
  await using _ = peer;
  const call = session.call('listProcesses', { containerId: 'c' });
  const first = await peer.nextRequest();
  peer.goAway(new RpcError('aborted', 'the link has ended'));
  const second = await peer.nextRequest();
  expect(second.request).toEqual(first.request);
  peer.respond(second.id, { payload: Buffer.alloc(0) });
  expect(await call).toEqual({ pids: [] });
  session.close();
});

test('stays away when nobody needs the connection, and comes back for a call', async () => {
  const { peer, session } = await bound();
  await using _ = peer;
  peer.goAway(new RpcError('aborted', 'the link has ended'));
  const call = session.call('startContainer', { containerId: 'c' });
  const { id } = await peer.nextRequest();
  peer.respond(id, { error: { code: 9, message: 'runs already', cause: '' } });
  await expect(call).rejects.toMatchObject({ code: 'failed_precondition', reason: 'runs already' });
  expect(peer.connections).toHaveLength(2);
  session.close();
});

test('gives up when every connection breaks the rules', async () => {
  await using peer = new ScriptedPeer();
  await peer.listen();
  peer.onBind = (connection) => {
    connection.send({ type: FrameType.BOUND });
    connection.send({ type: FrameType.CANCEL, id: 1 });
  };
  const session = new Session('box', { socketPath: peer.socketPath });
  const channel = session.openChannel(handle, piped);
  await expect(channel.result).rejects.toThrow(/CANCEL from the proxy/);
  expect(peer.connections).toHaveLength(8);
});

test('starts a proxy when nobody listens, also on a socket that a dead one left', async () => {
  await using peer = new ScriptedPeer();
  let starts = 0;
  const startProxy = async () => {
    starts++;
    await peer.listen();
  };
  const session = new Session('box', { socketPath: peer.socketPath, startProxy });
  await session.bind();
  expect(starts).toBe(1);
  session.close();
});

test('says why a proxy could not be started', async () => {
  await using peer = new ScriptedPeer();
  const startProxy = async () => {
    throw new Error('no such program');
  };
  const session = new Session('box', { socketPath: peer.socketPath, startProxy });
  await expect(session.bind()).rejects.toThrow(/cannot start a proxy on .*no such program/);
});

test('without a way to start one, a missing proxy is an error at once', async () => {
  await using peer = new ScriptedPeer();
  const session = new Session('box', { socketPath: peer.socketPath });
  await expect(session.bind()).rejects.toMatchObject({ code: 'unavailable' });
  writeFileSync(peer.socketPath, '');
  const other = new Session('box', { socketPath: peer.socketPath });
  await expect(other.bind()).rejects.toThrow(/no proxy listens on/);
});

test('binding is given up by a signal', async () => {
  await using peer = new ScriptedPeer();
  await peer.listen();
  const aborting = new AbortController();
  peer.onBind = () => aborting.abort();
  const session = new Session('box', { socketPath: peer.socketPath });
  await expect(session.bind(aborting.signal)).rejects.toMatchObject({ code: 'cancelled' });
  expect(session.isClosed).toBe(true);
});

test('closing ends calls and processes', async () => {
  const { peer, session } = await bound();
  await using _ = peer;
  const call = session.call('waitProcess', { containerId: 'c', execId: '' });
  const channel = session.openChannel(handle, piped);
  await peer.attach();
  session.close();
  await expect(call).rejects.toMatchObject({ code: 'cancelled' });
  await expect(channel.result).rejects.toMatchObject({ code: 'cancelled' });
});

test.each<CodeName>(['unavailable', 'not_found'])(
  'a sandbox that ends with %s has lost its VM',
  async (code) => {
    const { peer, session } = await bound();
    await using _ = peer;
    const channel = session.openChannel(handle, piped);
    await peer.attach();
    peer.goAway(new RpcError(code, 'the VM is gone'));
    const lost = { cause: 'vm_lost', exitCode: null, signal: null, code: 255, message: 'the VM is gone' };
    expect(await channel.result).toEqual(lost);
    expect(await session.openChannel(handle, piped).result).toEqual(lost);
    expect(session.vmLost?.code).toBe(code);
  },
);

test('a proxy that cannot be started again fails calls with the reason; streams go on once it can', async () => {
  await using peer = new ScriptedPeer();
  await peer.listen();
  let reason: Error | undefined = new Error('no such program');
  const startProxy = async () => {
    if (reason !== undefined) throw reason;
    await peer.listen();
  };
  const session = new Session('box', { socketPath: peer.socketPath, startProxy });
  await session.bind();
  const channel = session.openChannel(handle, piped);
  await peer.attach();
  peer.stop();
  // The fault it guards: the first attempt that failed ended the session, and every stream with it.
  await expect(session.call('getAgentDetails', {})).rejects.toMatchObject({
    code: 'unavailable',
    reason: expect.stringContaining('no such program'),
  });
  expect(session.isClosed).toBe(false);
  reason = undefined;
  const again = await peer.attach();
  peer.exit(again, { waitStatus: 4 << 8 });
  expect(await channel.result).toMatchObject({ exitCode: 4 });
  session.close();
});
