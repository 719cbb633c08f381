import { expect, test } from 'vitest';
import { kernelCommandLine, pluggedShares, type QemuOptions, qemuArguments } from './command.ts';
import { vmPaths } from './directory.ts';

const image: QemuOptions['image'] = {
  directory: '/images/base',
  kernel: '/images/base/vmlinuz',
  initrd: '/images/base/initrd.img',
  root: { path: '/images/base/rootfs.erofs', sizeBytes: 120 << 20, device: 'virtio-blk' },
  kernelArguments: ['from.image=1'],
  bootDigest: 'a+b',
  transports: ['virtio-serial'],
  has9p: true,
  files: [],
};
const base: QemuOptions = {
  spec: {
    memoryBytes: 256 << 20,
    vcpus: 2,
    shares: [{ tag: 'pod', binds: [{ name: 'web/rootfs', source: '/srv/web' }] }],
  },
  image,
  paths: vmPaths('/run/c/one'),
  accel: 'tcg',
  shareTransport: 'virtiofs',
  link: { transport: 'virtio-serial' },
};

/** The values of an option, in order. */
function values(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, i) => (arg === option ? [args[i + 1]!] : []));
}

test('memory is shared with virtiofsd and of one size everywhere', () => {
  const args = qemuArguments(base);
  expect(values(args, '-m')).toEqual(['256M']);
  expect(values(args, '-object')).toEqual(['memory-backend-memfd,id=ram,size=256M,share=on']);
  expect(values(args, '-machine')[0]).toMatch(/^q35,.*memory-backend=ram$/);
  expect(values(args, '-smp')).toEqual(['2']);
});

// Guards against a panic in one emulated boot of fifty: QEMU 7.2 ran an int3 of the kernel's text patching that was gone.
test('emulated vCPUs take turns', () => {
  const accelerator = (vcpus: number): string | undefined =>
    values(qemuArguments({ ...base, spec: { ...base.spec, vcpus } }), '-accel')[0];
  expect(accelerator(1)).toContain('thread=multi');
  expect(accelerator(2)).toContain('thread=single');
});

test('the devices are a root disk, the link, a random source, a balloon, slots for networks, and one share', () => {
  expect(
    values(qemuArguments(base), '-device').map((value) => value.replace(',disable-legacy=on', '')),
  ).toEqual([
    'virtio-blk-pci,drive=root,serial=coracle-root,opt_io_size=1048576',
    'virtio-serial-pci,max_ports=2',
    'virtserialport,chardev=link,name=coracle.link.0',
    'virtio-rng-pci',
    'virtio-balloon-pci,free-page-reporting=on',
    'pcie-pci-bridge,id=slots',
    'vhost-user-fs-pci,chardev=fs-pod,tag=pod',
  ]);
  expect(values(qemuArguments(base), '-chardev')).toEqual([
    'socket,id=link,path=/run/c/one/link.sock,server=on,wait=off',
    'socket,id=fs-pod,path=/run/c/one/fs-pod.sock',
  ]);
});

test('a VM from a template has a number of its own and its shares behind them', () => {
  const restored: QemuOptions = { ...base, template: true, memory: { path: '/proc/self/fd/3', share: true } };
  const args = qemuArguments(restored);
  expect(values(args, '-object')).toEqual([
    'memory-backend-file,id=ram,mem-path=/proc/self/fd/3,size=256M,share=on',
  ]);
  const devices = values(args, '-device').join(' ');
  expect(devices).toContain('vmgenid,guid=auto pcie-pci-bridge,id=slots');
  expect(devices).not.toContain('vhost-user-fs-pci');
  // Its memory may be the template's own file.
  expect(devices).not.toContain('balloon');
  expect(args.join(' ')).not.toContain('fs-pod');
  expect(pluggedShares(base)).toEqual([
    {
      device: {
        driver: 'vhost-user-fs-pci',
        chardev: 'fs-pod',
        tag: 'pod',
        id: 'share-pod',
        bus: 'slots',
        addr: '0x1',
      },
      socket: { id: 'fs-pod', path: '/run/c/one/fs-pod.sock' },
    },
  ]);
  expect(kernelCommandLine(restored)).toContain(' coracle.template=1 ');
});

test('a vsock is a device with the CID, a module and a word for the agent, and there is no port', () => {
  const vsock: QemuOptions = { ...base, link: { transport: 'vsock', cid: 4711 } };
  expect(values(qemuArguments(vsock), '-device')).toContain('vhost-vsock-pci,guest-cid=4711');
  expect(qemuArguments(vsock).join(' ')).not.toMatch(/virtserialport|link\.sock/);
  expect(kernelCommandLine(vsock)).toContain(
    ' coracle.modules=vmw_vsock_virtio_transport coracle.link=vsock:1024 ',
  );
  expect(kernelCommandLine(base)).not.toContain('coracle.');
});

test('without virtiofsd the share is 9p', () => {
  const args = qemuArguments({ ...base, shareTransport: '9p' });
  expect(values(args, '-fsdev')[0]).toMatch(/^local,id=fs-pod,path=\/run\/c\/one\/share-pod,/);
  expect(values(args, '-device')).toContain('virtio-9p-pci,fsdev=fs-pod,mount_tag=pod,disable-legacy=on');
  expect(args.join(' ')).not.toContain('vhost-user');
});

test('the root disk is read-only and takes no lock', () => {
  expect(values(qemuArguments(base), '-drive')).toEqual([
    'if=none,id=root,format=raw,readonly=on,file.locking=off,file=/images/base/rootfs.erofs',
  ]);
});

test('a root that is mapped comes from the page cache, read-only, with addresses above the RAM', () => {
  const root = { path: '/images/base/rootfs.erofs', sizeBytes: 120 << 20, device: 'pmem' } as const;
  const args = qemuArguments({ ...base, image: { ...image, initrd: undefined, root } });
  expect(values(args, '-object')).toContain(
    'memory-backend-file,id=root,mem-path=/images/base/rootfs.erofs,size=125829120,share=on,readonly=on',
  );
  expect(values(args, '-device')[0]).toBe('virtio-pmem-pci,memdev=root');
  expect(values(args, '-m')).toEqual(['256M,slots=1,maxmem=2048M']);
  expect(args.join(' ')).not.toMatch(/-initrd|-drive/);
});

test('a comma in a path does not become an option', () => {
  const args = qemuArguments({ ...base, paths: vmPaths('/run/a,b') });
  expect(values(args, '-serial')).toEqual(['file:/run/a,,b/console.log']);
});

test('a writer of lines is not put aside at each line: 200,000 lines took ten times as long', () => {
  expect(kernelCommandLine(base).split(' ')).toContain('preempt=none');
  expect(kernelCommandLine({ ...base, accel: 'kvm' }).split(' ')).toContain('preempt=none');
});

test('the accelerator decides about CPU and mitigations', () => {
  expect(values(qemuArguments(base), '-cpu')).toEqual(['max,erms=off,fsrm=off,la57=off']);
  expect(kernelCommandLine(base)).toContain('mitigations=off');
  expect(values(qemuArguments({ ...base, accel: 'kvm' }), '-cpu')).toEqual(['host']);
  expect(kernelCommandLine({ ...base, accel: 'kvm' })).not.toMatch(/mitigations|nokaslr/);
});

test('the kernel is quiet unless asked, and gets the words of image and caller last', () => {
  expect(kernelCommandLine(base)).toMatch(/^console=ttyS0 quiet panic=-1 reboot=t .* from\.image=1$/);
  const verbose = { ...base.spec, console: 'verbose', kernelArguments: ['from.caller=1'] } as const;
  expect(kernelCommandLine({ ...base, spec: verbose })).toMatch(/loglevel=7.*from\.image=1 from\.caller=1$/);
});

test.each([
  [{ memoryBytes: (256 << 20) + 1 }, /not a number of MiB/],
  [{ memoryBytes: 16 << 20 }, /from 64 up/],
  [{ vcpus: 0 }, /cannot have 0 vCPUs/],
  [{ vcpus: 1.5 }, /cannot have 1.5 vCPUs/],
])('%j is refused', (change, message) => {
  expect(() => qemuArguments({ ...base, spec: { ...base.spec, ...change } })).toThrow(message);
});

test('a folder too deep for sockets is refused', () => {
  expect(() => qemuArguments({ ...base, paths: vmPaths(`/run/${'d'.repeat(100)}`) })).toThrow(
    expect.objectContaining({ code: 'path-too-long' }),
  );
});
