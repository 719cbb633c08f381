export {
  type CodeName,
  isLargeInteger,
  isRpcError,
  parseJson,
  RpcError,
  type StatsContainerResponse as ContainerStats,
} from '@coracle/wire';
export type { Abortable } from './abort.ts';
export type { ProcessHandle } from './channel.ts';
export { Container, type ExecOptions, type SignalOptions } from './container.ts';
export { Coracle, type CoracleOptions } from './coracle.ts';
export { type EnsureProxyOptions, ensureProxy } from './ensure-proxy.ts';
export type { OciConfig, OciProcess, OciUser } from './oci.ts';
export {
  type AttachOptions,
  ContainerProcess,
  type OutputOptions,
  type ProcessOutput,
  type WindowSize,
} from './process.ts';
export { type RehearseOptions, rehearseVm } from './rehearse.ts';
export type { ProcessResult } from './result.ts';
export {
  type CreateContainerOptions,
  type DestroyOptions,
  Sandbox,
  type SandboxDetails,
  type SandboxNetwork,
} from './sandbox.ts';
export type { SignalName } from './signals.ts';
export type { StartSandboxOptions } from './start-sandbox.ts';
export type { SandboxVmSpec, ShareLike, SharePath, VmDriverLike, VmLike } from './vm.ts';
