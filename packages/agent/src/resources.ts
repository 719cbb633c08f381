/**
 * linux.resources (runtime-spec config-linux.md), written for the host, as the guest applies them. What names things of
 * the host, its CPUs, memory nodes and devices, is applied on the host, to the VM as a whole.
 */
import { asString, invalid, type JsonObject, optionalArray, optionalObject } from './check.ts';

/** @throws RpcError invalid_argument naming the field */
export function guestResources(value: unknown, field: string): JsonObject | undefined {
  const resources = optionalObject(value, field);
  if (resources === undefined) return undefined;
  const { memory, cpu, pids, devices, unified } = resources;
  const kept: JsonObject = {};
  const ofMemory = guestMemoryLimits(optionalObject(memory, `${field}.memory`));
  if (ofMemory !== undefined) kept.memory = ofMemory;
  const ofCpu = optionalObject(cpu, `${field}.cpu`);
  if (ofCpu !== undefined) kept.cpu = guestCpuLimits(ofCpu);
  const ofPids = optionalObject(pids, `${field}.pids`);
  if (ofPids !== undefined) kept.pids = ofPids;
  if (devices !== undefined && devices !== null) {
    kept.devices = optionalArray(devices, `${field}.devices`);
  }
  const ofCgroup = optionalObject(unified, `${field}.unified`);
  if (ofCgroup !== undefined) {
    for (const [name, text] of Object.entries(ofCgroup)) {
      // A file name of cgroup v2; crun writes to whatever it is.
      if (!/^[a-z0-9_.]+$/i.test(name)) throw invalid(`${field}.unified`, `has a strange name ${name}`);
      asString(text, `${field}.unified.${name}`);
    }
    kept.unified = ofCgroup;
  }
  return kept;
}

/** `kernel`, `kernelTCP`, `swappiness` and `disableOOMKiller` are of cgroup v1; the guest has v2 only. */
function guestMemoryLimits(memory: JsonObject | undefined): JsonObject | undefined {
  if (memory === undefined) return undefined;
  const kept: JsonObject = {};
  for (const name of ['limit', 'reservation', 'swap']) {
    if (memory[name] !== undefined && memory[name] !== null && memory[name] !== 0) kept[name] = memory[name];
  }
  // Memory and swap together: without the first, crun cannot tell what the second is.
  if (kept.limit === undefined) delete kept.swap;
  return kept;
}

/** Which CPUs of the host is the host's to say; real-time times are of cgroup v1. */
function guestCpuLimits(cpu: JsonObject): JsonObject {
  const kept: JsonObject = {};
  for (const name of ['shares', 'quota', 'period', 'burst', 'idle']) {
    if (cpu[name] !== undefined && cpu[name] !== null && cpu[name] !== 0) kept[name] = cpu[name];
  }
  return kept;
}
