/**
 * The root's device in a VM that was started from a template. QEMU saves nothing of a virtio-pmem device (it has no
 * VMStateDescription, hw/virtio/virtio-pmem.c), so after a restore it is as after a reset: the root can be read, being
 * memory, but a flush is never answered, and a guest that powers off flushes (nd_pmem_shutdown, drivers/nvdimm/pmem.c)
 * and hangs there. So what the kernel has set up is read before the VM is saved, and written again after the restore.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const devices = '/sys/bus/pci/devices';
/** Virtio 1.2, 4.1.2: 0x1040 and the device's type, which is 27 (5.19). */
const [VENDOR, DEVICE] = ['0x1af4', '0x105b'];

/** PCI configuration space, as linux/pci_regs.h has it. */
const PCI_COMMAND = 0x04;
const PCI_BASE_ADDRESS_0 = 0x10;
const PCI_BASE_ADDRESSES = 6;
const PCI_CAPABILITY_LIST = 0x34;
const PCI_CAP_ID_VNDR = 0x09;

/** Virtio 1.2, 4.1.4: kinds of capabilities, and struct virtio_pci_cap. */
const VIRTIO_PCI_CAP_COMMON_CFG = 1;
const VIRTIO_PCI_CAP_PCI_CFG = 5;
const CAP = { next: 1, type: 3, bar: 4, offset: 8, length: 12, data: 16 } as const;

/** Fields of struct virtio_pci_common_cfg (4.1.4.3): offset and size. */
const DRIVER_FEATURE_SELECT = [8, 4] as const;
const DRIVER_FEATURE = [12, 4] as const;
const DEVICE_STATUS = [20, 1] as const;
const QUEUE_SELECT = [22, 2] as const;
const QUEUE_ENABLE = [28, 2] as const;
/** Size, the addresses of descriptors, of what is available, and of what was used. */
const QUEUE = [
  [24, 2],
  [32, 4],
  [36, 4],
  [40, 4],
  [44, 4],
  [48, 4],
  [52, 4],
] as const;
type Field = readonly [offset: number, size: number];

/** Bits of DEVICE_STATUS in the order in which a driver sets them (3.1.1). */
const STATUS = { acknowledge: 1, driver: 2, driverOk: 4, featuresOk: 8 } as const;

/** What the kernel has told the device; undefined where the root is another one. */
export interface PmemDevice {
  readonly path: string;
  readonly command: number;
  readonly baseAddresses: readonly number[];
  readonly features: readonly [low: number, high: number];
  readonly queue: readonly number[];
}

/** @throws Error when the device was flushed already: the queue could not be begun anew */
export function readPmemDevice(): PmemDevice | undefined {
  const path = findDevice();
  if (path === undefined) return undefined;
  if (interrupts(path) > 0) throw new Error(`${path} was flushed before the machine was saved`);
  using space = new ConfigurationSpace(path);
  const feature = (select: number) => {
    space.put(DRIVER_FEATURE_SELECT, select);
    return space.get(DRIVER_FEATURE);
  };
  space.put(QUEUE_SELECT, 0);
  return {
    path,
    command: space.read(PCI_COMMAND, 2),
    baseAddresses: baseAddresses().map((at) => space.read(at, 4)),
    features: [feature(0), feature(1)],
    queue: QUEUE.map((field) => space.get(field)),
  };
}

/** Does nothing to a device that was restored. */
export function restorePmemDevice(device: PmemDevice | undefined): void {
  if (device === undefined) return;
  using space = new ConfigurationSpace(device.path);
  if (space.get(DEVICE_STATUS) !== 0) return;
  for (const [index, at] of baseAddresses().entries()) space.write(at, 4, device.baseAddresses[index]!);
  space.write(PCI_COMMAND, 2, device.command);

  let status = STATUS.acknowledge | STATUS.driver;
  space.put(DEVICE_STATUS, status);
  for (const [select, feature] of device.features.entries()) {
    space.put(DRIVER_FEATURE_SELECT, select);
    space.put(DRIVER_FEATURE, feature);
  }
  status |= STATUS.featuresOk;
  space.put(DEVICE_STATUS, status);
  space.put(QUEUE_SELECT, 0);
  for (const [index, field] of QUEUE.entries()) space.put(field, device.queue[index]!);
  space.put(QUEUE_ENABLE, 1);
  space.put(DEVICE_STATUS, status | STATUS.driverOk);
}

function findDevice(): string | undefined {
  const has = (name: string, file: string, value: string) =>
    readFileSync(join(devices, name, file), 'latin1').trim() === value;
  const found = readdirSync(devices).find(
    (name) => has(name, 'vendor', VENDOR) && has(name, 'device', DEVICE),
  );
  return found === undefined ? undefined : join(devices, found);
}

/** How often the device has answered (proc(5), interrupts). */
function interrupts(path: string): number {
  const irq = readFileSync(join(path, 'irq'), 'latin1').trim();
  const line = new RegExp(`^ *${irq}:((?: +\\d+)+)`, 'm').exec(readFileSync('/proc/interrupts', 'latin1'));
  return (line?.[1] ?? '').split(' ').reduce((sum, count) => sum + Number(count), 0);
}

const baseAddresses = (): number[] =>
  Array.from({ length: PCI_BASE_ADDRESSES }, (_, index) => PCI_BASE_ADDRESS_0 + 4 * index);

/** Through it registers are reached that are mapped nowhere (virtio 1.2, 4.1.4.9). */
class ConfigurationSpace {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(4);
  readonly #window: number;
  readonly #bar: number;
  readonly #offset: number;

  constructor(path: string) {
    this.#fd = openSync(join(path, 'config'), 'r+');
    const common = this.#capability(VIRTIO_PCI_CAP_COMMON_CFG);
    this.#window = this.#capability(VIRTIO_PCI_CAP_PCI_CFG);
    this.#bar = this.read(common + CAP.bar, 1);
    this.#offset = this.read(common + CAP.offset, 4);
  }

  read(at: number, size: number): number {
    readSync(this.#fd, this.#bytes, 0, size, at);
    return this.#bytes.readUIntLE(0, size);
  }

  write(at: number, size: number, value: number): void {
    this.#bytes.writeUIntLE(value, 0, size);
    writeSync(this.#fd, this.#bytes, 0, size, at);
  }

  get([offset, size]: Field): number {
    this.#aim(offset, size);
    return this.read(this.#window + CAP.data, size);
  }

  put([offset, size]: Field, value: number): void {
    this.#aim(offset, size);
    this.write(this.#window + CAP.data, size, value);
  }

  #aim(offset: number, size: number): void {
    this.write(this.#window + CAP.bar, 1, this.#bar);
    this.write(this.#window + CAP.offset, 4, this.#offset + offset);
    this.write(this.#window + CAP.length, 4, size);
  }

  #capability(type: number): number {
    for (let at = this.read(PCI_CAPABILITY_LIST, 1); at !== 0; at = this.read(at + CAP.next, 1))
      if (this.read(at, 1) === PCI_CAP_ID_VNDR && this.read(at + CAP.type, 1) === type) return at;
    throw new Error(`a virtio device without a capability of type ${type}`);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
