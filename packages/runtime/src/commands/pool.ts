import { CliError, UsageError } from '../cli/errors.ts';
import { Interrupts } from '../cli/interrupts.ts';
import { count } from '../cli/numbers.ts';
import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { poolFolder } from '../host/settings.ts';
import { createVmDriver } from '../sandbox/driver.ts';
import { shareTag } from '../sandbox/sandbox.ts';

const mebibyte = 1024 * 1024;
const defaultSize = 2;

export default command({
  options: {
    size: { type: 'string', value: 'N', help: `how many VMs wait; ${defaultSize} unless given` },
    memory: { type: 'string', value: 'MIB', help: 'memory of each; as a container without a limit has it' },
    vcpus: { type: 'string', value: 'N', help: 'its vCPUs; 1 unless given' },
  },
  positionals: [0, 0],
  async run({ size, memory, vcpus }, _, { settings, log }) {
    const [{ hostSize, sizeVm }, { rehearseVm }] = await Promise.all([
      import('@coracle/vm'),
      import('@coracle/client'),
    ]);
    if (settings.driver === 'local') throw new CliError('the local driver has no VMs that could wait');
    if (settings.template === 'off')
      throw new CliError(
        'CORACLE_TEMPLATE=off: a pool starts its VMs from a template, and containers take none then',
      );
    const usual = sizeVm({});
    const wanted = count('size', size, defaultSize);
    if (wanted === 0) throw new UsageError('a pool of 0 VMs is no pool: give --size 1 or more');
    const spec = {
      image: settings.image,
      memoryBytes: memory === undefined ? usual.memoryBytes : count('memory', memory, 0) * mebibyte,
      vcpus: count('vcpus', vcpus, usual.vcpus),
    };
    const { availableBytes } = hostSize();
    if (wanted * spec.memoryBytes > availableBytes)
      throw new CliError(
        `${wanted} VMs of ${spec.memoryBytes / mebibyte} MiB may come to need more than the ` +
          `${Math.floor(availableBytes / mebibyte)} MiB that this host has available; give a smaller --size or --memory`,
      );
    const { signal } = new Interrupts('the pool');
    const driver = await createVmDriver(settings);
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    const onChange = ({ waiting, failure }: { waiting: number; failure?: string }) => {
      if (failure !== undefined) log.warning(`a VM of the pool could not be started: ${failure}`);
      print(`${waiting} of ${wanted} VMs wait\n`);
    };
    await using _pool = await driver.openPool(
      spec,
      {
        directory: poolFolder(settings.runDirectory),
        size: wanted,
        shares: [shareTag],
        prepare: ({ linkPath }, options) => rehearseVm(linkPath, options),
        onChange,
      },
      { signal },
    );
    await ended;
  },
});
