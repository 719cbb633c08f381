export { setRealTime } from './clock.ts';
export { errnoName, hasCode, SysError } from './error.ts';
export {
  bytesReadable,
  close,
  dup,
  type Pipe,
  pipe2,
  read,
  setNonblocking,
  setPipeSize,
  write,
} from './fd.ts';
export { setInterfaceUp } from './interface.ts';
export {
  formatLinkAddress,
  hybridListenPath,
  LINK_RECORD,
  LINK_SOCKET,
  type LinkAddress,
  type LinkRecord,
  parseLinkAddress,
  readLinkRecord,
  writeLinkRecord,
} from './link-address.ts';
export { adoptLock, Lock, type LockOptions, lockFile, tryLockFile } from './lock.ts';
export { createMemoryFile } from './memory-file.ts';
export { chroot, type MountFlag, mount, unmount } from './mount.ts';
export * as rtnetlink from './netlink/index.ts';
export { inNetworkNamespace, inNewNetworkNamespace } from './network-namespace.ts';
export { assertPollable, type Interest, type Readiness, Watch } from './poll.ts';
export { findPort, hostConnected, openPort, setAsync } from './port.ts';
export { PortAlias } from './port-alias.ts';
export {
  getResourceLimit,
  kill,
  killGroup,
  pidfdAlive,
  pidfdOpen,
  type Resource,
  type ResourceLimit,
  reboot,
  runAheadOfChildren,
  setChildSubreaper,
  setDumpable,
  setHostname,
  setParentDeathSignal,
  setResourceLimit,
  sync,
  waitForExit,
} from './process.ts';
export {
  getWindowSize,
  isPtyMaster,
  isTerminal,
  makeRaw,
  openPty,
  openSlaveOf,
  type Pty,
  restoreTerminal,
  type SavedTerminal,
  setWindowSize,
  slavePathOf,
  type WindowSize,
} from './pty.ts';
export { PtyStream } from './pty-stream.ts';
export { kernelRandom, reseedRandom } from './random.ts';
export {
  acceptDescriptor,
  type ReceivedDescriptor,
  receiveDescriptor,
  sendDescriptor,
  sendDescriptorTo,
} from './scm.ts';
export { parseSignal, SIGRTMAX, SIGRTMIN, signalName } from './signals.ts';
export {
  accept,
  connectUnix,
  listenUnix,
  type PeerCredentials,
  peerCredentials,
  SOCKET_PATH_MAX_BYTES,
  socketPair,
} from './socket.ts';
export { type SpawnOptions, spawn } from './spawn.ts';
export { shutdownSocket, takeDescriptor } from './steal.ts';
export { descriptorOf, openStream, type StreamOptions } from './stream.ts';
export { openTap } from './tap.ts';
export { checkVhostVsock, isGuestCidFree, VHOST_VSOCK_DEVICE } from './vhost.ts';
export {
  connectVsock,
  describeVsockAddress,
  listenVsock,
  VSOCK_CID_ANY,
  VSOCK_CID_FIRST_GUEST,
  VSOCK_CID_HOST,
  VSOCK_CID_LOCAL,
  VSOCK_LAST_RESERVED_PORT,
  VSOCK_PORT_ANY,
  type VsockAddress,
  type VsockConnectOptions,
  VsockListener,
  vsockName,
  vsockPeer,
} from './vsock.ts';
export { decodeWaitStatus, type Reaped, reap, type WaitStatus, waitPid } from './wait.ts';
