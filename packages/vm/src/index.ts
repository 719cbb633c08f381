export {
  type Accel,
  type AccelDecision,
  type AccelSetting,
  checkKvmDevice,
  decideAccel,
  type KvmDevice,
  type KvmProbe,
} from './accel.ts';
export {
  type BootReport,
  type BootStage,
  bootFailure,
  bootReport,
  bootStages,
  describeBoot,
  VmStartError,
} from './boot.ts';
export { insideCgroups } from './cgroup-entry.ts';
export { linkPortName, rootSerial } from './command.ts';
export { checkSocketPath, maxSocketPathBytes, type VmPaths, vmPaths } from './directory.ts';
export type { Share, Vm, VmDriver, VmExit, VmSpec, VmStartOptions, VmStatus } from './driver.ts';
export { QmpError, VmError, type VmErrorCode } from './errors.ts';
export { findQemu, findVirtiofsd, type HostPrograms } from './host.ts';
export { findOwned, isAlive, type ProcessIdentity } from './identity.ts';
export { openImage, type VmImage } from './image.ts';
export { createLocalDriver, type LocalDriverOptions } from './local.ts';
export { type Nic, type NicSpec, Nics } from './nics.ts';
export { readyIn } from './pool/claim.ts';
export { clearPool, type PoolOptions, type PoolState, VmPool } from './pool/pool.ts';
export { cacheDirectory, probeKvm } from './probe.ts';
export { createQemuDriver, type QemuDriver, type QemuDriverOptions, type TemplateSpec } from './qemu.ts';
export { Qmp, type QmpConnectOptions, type QmpEvent, type QmpStatus } from './qmp.ts';
export { readRecord, type VmRecord } from './record.ts';
export type { ShareBind } from './share.ts';
export {
  defaultMemoryBytes,
  defaultVcpus,
  guestOverheadBytes,
  type HostSize,
  hostSize,
  type SizeRequest,
  sizeVm,
  type VmSize,
} from './size.ts';
export type { MakeOutcome } from './template/make.ts';
export { type Template, type TemplateEntry, type TemplateRecord, TemplateStore } from './template/store.ts';
export {
  agentVsockPort,
  decideTransport,
  type LinkTransport,
  type TransportDecision,
  type TransportSetting,
  type VhostVsock,
} from './transport.ts';
export { openVm, stopVm } from './vm.ts';
