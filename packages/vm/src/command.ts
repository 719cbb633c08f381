import type { Accel } from './accel.ts';
import type { VmPaths } from './directory.ts';
import { checkSocketPath } from './directory.ts';
import type { VmSpec } from './driver.ts';
import { VmError } from './errors.ts';
import type { VmImage } from './image.ts';
import { agentVsockPort, vsockModule } from './transport.ts';

/** What carries the link; `cid` is the guest's. */
export type QemuLink =
  | { readonly transport: 'virtio-serial' }
  | { readonly transport: 'vsock'; readonly cid: number };

/** How a share reaches QEMU: through a virtiofsd, or by QEMU itself where there is none. */
export type ShareTransport = 'virtiofs' | '9p';

export interface QemuOptions {
  readonly spec: Pick<VmSpec, 'memoryBytes' | 'vcpus' | 'shares' | 'console' | 'kernelArguments'>;
  readonly image: VmImage;
  readonly paths: VmPaths;
  readonly accel: Accel;
  readonly shareTransport: ShareTransport;
  readonly link: QemuLink;
  /** RAM as a file that QEMU maps: of a template, shared with virtiofsd or private to QEMU. Else QEMU makes it. */
  readonly memory?: { readonly path: string; readonly share: boolean };
  /** A VM that is saved, or was: it has what tells the guest that it is another one now. */
  readonly template?: boolean;
}

/** The serial of the root disk, by which an initrd finds it. */
export const rootSerial = 'coracle-root';
/** The name of the agent's virtio-serial port. */
export const linkPortName = 'coracle.link.0';

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

/** QEMU's command line (qemu-system-x86_64(1)), without the program itself. */
export function qemuArguments(options: QemuOptions): string[] {
  const { spec, image, paths } = options;
  if (!Number.isInteger(spec.memoryBytes / mebibyte) || spec.memoryBytes < 64 * mebibyte) {
    throw new VmError(
      'bad-spec',
      `a VM memory of ${spec.memoryBytes} bytes is not a number of MiB from 64 up`,
    );
  }
  if (!Number.isInteger(spec.vcpus) || spec.vcpus < 1) {
    throw new VmError('bad-spec', `a VM cannot have ${spec.vcpus} vCPUs`);
  }
  const memory = `${spec.memoryBytes / mebibyte}M`;
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    // Devices that no guest of ours uses: each costs the kernel a probe, under emulation a slow one.
    // graphics=off sends the firmware's messages to the serial port: the first sign of life.
    ...[
      '-machine',
      'q35,usb=off,vmport=off,hpet=off,sata=off,smbus=off,smm=off,graphics=off,memory-backend=ram',
    ],
    ...acceleratorArguments(options),
    ...['-smp', String(spec.vcpus), ...memoryArguments(spec.memoryBytes, image)],
    ...['-object', memoryBackend(options, memory)],
    // resourcecontrol stays allowed: it would forbid sched_setaffinity, which a pinning operator needs.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny'],
    ...['-kernel', image.kernel, ...(image.initrd === undefined ? [] : ['-initrd', image.initrd])],
    ...['-append', kernelCommandLine(options)],
    ...['-serial', `file:${escapeValue(paths.console)}`],
    ...[
      '-qmp',
      `unix:${escapeValue(checkSocketPath(paths.qmp))},server=on,wait=off`,
      '-pidfile',
      paths.pidFile,
    ],
    ...rootArguments(image),
    ...linkArguments(options),
    ...['-device', 'virtio-rng-pci,disable-legacy=on'],
    ...(options.template === true ? [] : deviceArguments(balloon)),
    ...(options.template === true ? ['-device', 'vmgenid,guid=auto'] : []),
    ...slotArguments(),
    ...spec.shares.flatMap(({ tag }) => shareArguments(tag, options)),
  ];
}

function memoryBackend({ memory }: QemuOptions, size: string): string {
  // virtiofsd reads and writes guest memory itself: it has to be shared.
  if (memory === undefined) return `memory-backend-memfd,id=ram,size=${size},share=on`;
  const share = memory.share ? 'on' : 'off';
  return `memory-backend-file,id=ram,mem-path=${escapeValue(memory.path)},size=${size},share=${share}`;
}

/** The disk, or what is mapped, that holds the root filesystem. A trial boot has it too. */
export function rootArguments({ root }: Pick<VmImage, 'root'>): string[] {
  if (root === undefined) return [];
  const file = escapeValue(root.path);
  if (root.device === 'pmem') {
    // Mapped read-only from the page cache, so all VMs of a host share it; what the guest writes there is dropped.
    const backend = `memory-backend-file,id=root,mem-path=${file},size=${root.sizeBytes},share=on,readonly=on`;
    return ['-object', backend, '-device', 'virtio-pmem-pci,memdev=root'];
  }
  return [
    // Many VMs read one image, and nobody writes it: no lock is needed on it.
    ...['-drive', `if=none,id=root,format=raw,readonly=on,file.locking=off,file=${file}`],
    // From opt_io_size the kernel takes how far it reads ahead: Node's start faults most of its program in.
    ...['-device', `virtio-blk-pci,drive=root,serial=${rootSerial},disable-legacy=on,opt_io_size=${1 << 20}`],
  ];
}

/** RAM, and room for what is mapped beside it: memory devices need addresses above it, in units of 1 GiB. */
export function memoryArguments(memoryBytes: number, { root }: Pick<VmImage, 'root'>): string[] {
  const memory = `${memoryBytes / mebibyte}M`;
  if (root?.device !== 'pmem') return ['-m', memory];
  const maximum = Math.ceil((memoryBytes + root.sizeBytes) / gibibyte + 1) * gibibyte;
  return ['-m', `${memory},slots=1,maxmem=${maximum / mebibyte}M`];
}

function linkArguments({ link, paths }: QemuOptions): string[] {
  if (link.transport === 'vsock') return ['-device', `vhost-vsock-pci,guest-cid=${link.cid}`];
  return [
    // Port 0 is reserved for a console and unused; each port more would cost the guest two queues.
    ...['-device', 'virtio-serial-pci,max_ports=2,disable-legacy=on'],
    ...['-chardev', `socket,id=link,path=${escapeValue(checkSocketPath(paths.link))},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=link,name=${linkPortName}`],
  ];
}

function acceleratorArguments({ accel, spec }: QemuOptions): string[] {
  if (accel === 'kvm') return ['-accel', 'kvm', '-cpu', 'host'];
  // vCPUs take turns on one host thread. With a thread for each, QEMU before 8.1 may translate code while another vCPU
  // writes it, and then run what never was there whole: Linux patches itself, and V8 writes code all the time. One boot
  // with two vCPUs in some fifty ended so. The default cache of translated code is 1 GiB, of which a small guest never
  // fills a quarter.
  const thread = spec.vcpus === 1 ? 'multi' : 'single';
  // With ERMS and FSRM kernel and glibc copy by `rep movsb`, which TCG runs byte by byte; without them they
  // move words, and boots, execs and copies get 20 to 30 % faster. Without LA57 page tables have a level less.
  return ['-accel', `tcg,thread=${thread},tb-size=256`, '-cpu', 'max,erms=off,fsrm=off,la57=off'];
}

/** What is plugged into a restored VM: a device, and what is behind it in the host. */
export interface Plugged {
  readonly device: QemuDevice;
  /** The virtiofsd's socket; undefined where QEMU has opened what it needs by itself. */
  readonly socket: { readonly id: string; readonly path: string } | undefined;
}

/** The shares of a VM from a template, each in a slot of its own. */
export function pluggedShares({
  spec,
  shareTransport,
  paths,
}: Pick<QemuOptions, 'spec' | 'shareTransport' | 'paths'>): Plugged[] {
  return spec.shares.map(({ tag }, slot) => ({
    // With an id, so that whoever looks for a free slot finds it (nics.ts).
    device: { ...shareDevice(tag, shareTransport), id: `${sharePrefix}${tag}`, ...inSlot(slot) },
    socket:
      shareTransport === '9p' ? undefined : { id: `fs-${tag}`, path: checkSocketPath(paths.fsSocket(tag)) },
  }));
}

/** Properties by their names; `driver` says what it is. */
export type QemuDevice = Readonly<Record<string, string>>;

/**
 * Where devices can be plugged into a VM that runs: networks (nics.ts), and the shares of one from a template. A bus behind one
 * bridge, and not a port for each: guest and firmware look at each bridge for tens of ms under emulation
 * (docs/decisions/network.md). Slot 0 is the bridge's own.
 */
const SLOT_BUS = 'slots';
/** What is in a slot and no network. */
export const sharePrefix = 'share-';
export const SLOTS = 30;
export const inSlot = (slot: number): Readonly<Record<string, string>> => ({
  bus: SLOT_BUS,
  // QEMU takes it for hexadecimal, with or without the prefix.
  addr: `0x${(slot + 1).toString(16)}`,
});

/**
 * By it the guest says which memory it does not use, and QEMU gives that back to the host (free page reporting). Not where a
 * template's file is the memory: QEMU 7.2 punches holes into whatever file memory has (`ram_block_discard_range`).
 */
const balloon: QemuDevice = {
  driver: 'virtio-balloon-pci',
  'free-page-reporting': 'on',
  'disable-legacy': 'on',
};

/** For a VM from a template with a memory of its own: in the last slot. */
export const pluggedBalloon: Plugged = {
  device: { ...balloon, id: 'balloon', ...inSlot(SLOTS) },
  socket: undefined,
};

function slotArguments(): string[] {
  return ['-device', `pcie-pci-bridge,id=${SLOT_BUS}`];
}

/**
 * A share's device, and what is behind it in the host. To a VM from a template the device is added when it has been
 * restored, since the state of a virtiofsd's is never saved; a virtiofsd is connected to then, too.
 */
function shareArguments(tag: string, { paths, shareTransport, template }: QemuOptions): string[] {
  const device = template === true ? [] : deviceArguments(shareDevice(tag, shareTransport));
  if (shareTransport === '9p') {
    const path = escapeValue(paths.share(tag));
    return ['-fsdev', `local,id=fs-${tag},path=${path},security_model=none,multidevs=remap`, ...device];
  }
  if (template === true) return [];
  const path = escapeValue(checkSocketPath(paths.fsSocket(tag)));
  return ['-chardev', `socket,id=fs-${tag},path=${path}`, ...device];
}

function shareDevice(tag: string, transport: ShareTransport): QemuDevice {
  return transport === '9p'
    ? { driver: 'virtio-9p-pci', fsdev: `fs-${tag}`, mount_tag: tag, 'disable-legacy': 'on' }
    : { driver: 'vhost-user-fs-pci', chardev: `fs-${tag}`, tag };
}

function deviceArguments({ driver, ...properties }: QemuDevice): string[] {
  const words = Object.entries(properties).map(([name, value]) => `${name}=${value}`);
  return ['-device', [driver, ...words].join(',')];
}

/** QEMU's option lists are split at commas; a comma in a value is written twice. */
export function escapeValue(value: string): string {
  return value.replaceAll(',', ',,');
}

/** Documentation/admin-guide/kernel-parameters.txt has each word. */
export function kernelCommandLine({
  spec,
  image,
  accel,
  link,
  template,
}: Pick<QemuOptions, 'spec' | 'image' | 'accel' | 'link' | 'template'>): string {
  return [
    'console=ttyS0',
    ...(spec.console === 'verbose' ? ['loglevel=7'] : ['quiet']),
    // With -no-reboot a panic and a reboot both end QEMU at once; `t` is the triple fault, which always works.
    ...['panic=-1', 'reboot=t'],
    // Devices that are not there, and self-tests of ciphers that nobody uses: waits of a boot.
    ...['8250.nr_uarts=1', 'i8042.noaux', 'cryptomgr.notests', 'rcupdate.rcu_expedited=1'],
    // Otherwise a kernel with dummy.ko built in shows containers an interface dummy0.
    'dummy.numdummies=0',
    ...['no_timer_check', 'tsc=reliable'],
    // Otherwise a program that writes lines to a terminal is put aside for a kernel worker at each line (in n_tty's
    // mutex_lock), and 200,000 lines cost 900,000 switches of context: 10 s under emulation instead of 0.8 s.
    'preempt=none',
    // Emulated code does not speculate, and its addresses are no secret to the host that translates it.
    ...(accel === 'tcg' ? ['mitigations=off', 'nokaslr'] : []),
    // What /init loads besides, and how the agent is reached; without a word it is the virtio-serial port.
    ...(link.transport === 'vsock'
      ? [`coracle.modules=${vsockModule}`, `coracle.link=vsock:${agentVsockPort}`]
      : []),
    ...(template === true ? ['coracle.template=1'] : []),
    ...image.kernelArguments,
    ...(spec.kernelArguments ?? []),
  ].join(' ');
}
