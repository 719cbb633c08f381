/**
 * Network namespaces (network_namespaces(7)). A namespace belongs to a thread: the one that runs JavaScript is moved, does
 * something, and is moved back before anything else runs. Sockets and taps that are opened meanwhile stay in that namespace, and
 * so does a program that is started meanwhile (`spawn`). Node's own thread pool does not come along: no asynchronous calls.
 */
import { closeSync, openSync } from 'node:fs';
import { check, libc } from './libc.ts';

const cSetns = libc('int setns(int fd, int type)');
const cUnshare = libc('int unshare(int flags)');

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000;
const OWN = '/proc/thread-self/ns/net';

/**
 * Runs `act` in the namespace that `path` (such as /proc/PID/ns/net) stands for.
 * @throws SysError of setns(2), such as EINVAL for what is no network namespace; Error of open(2); what `act` throws
 */
export function inNetworkNamespace<T>(path: string, act: () => T): T {
  const fd = openSync(path, 'r');
  try {
    return away(() => check(cSetns(fd, CLONE_NEWNET), 'setns', path), act);
  } finally {
    closeSync(fd);
  }
}

/** Runs `act` in a namespace that is made for it, and which lasts as long as somebody is in it. @throws SysError EPERM */
export function inNewNetworkNamespace<T>(act: () => T): T {
  return away(() => check(cUnshare(CLONE_NEWNET), 'unshare', 'the network namespace'), act);
}

function away<T>(leave: () => void, act: () => T): T {
  const home = openSync(OWN, 'r');
  try {
    leave();
    try {
      const result = act();
      if (result instanceof Promise)
        throw new TypeError('what runs in another network namespace must not wait');
      return result;
    } finally {
      // Should it fail, all that this process does from now on would be in the wrong place.
      if (cSetns(home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    closeSync(home);
  }
}
