import { statSync } from 'node:fs';
import type { TemplateEntry, TemplateStore } from '@coracle/vm';
import { messageOf, UsageError } from '../cli/errors.ts';
import { Interrupts } from '../cli/interrupts.ts';
import { count } from '../cli/numbers.ts';
import { print, table } from '../cli/output.ts';
import { Progress } from '../cli/progress.ts';
import { command } from '../command.ts';
import { createVmDriver } from '../sandbox/driver.ts';

const mebibyte = 1024 * 1024;

export default command({
  options: {
    memory: {
      type: 'string',
      value: 'MIB',
      help: 'build: memory of the VM; as a container without a limit has it',
    },
    vcpus: { type: 'string', value: 'N', help: 'build: its vCPUs; 1 unless given' },
    keep: { type: 'string', value: 'N', help: 'prune: how many stay, of those used last; 0 unless given' },
    json: { type: 'boolean', help: 'list, verify: print JSON' },
  },
  positionals: [1, 1],
  async run({ memory, vcpus, keep, json }, [action], { settings }) {
    const { TemplateStore, cacheDirectory, sizeVm } = await import('@coracle/vm');
    const store = new TemplateStore(cacheDirectory());
    switch (action) {
      case 'list':
        return print(render(store.list(), json === true));
      case 'prune':
        for (const key of store.prune(count('keep', keep, 0))) print(`removed ${key}\n`);
        return;
      case 'verify':
        return await verify(store, json === true);
      case 'build': {
        const size = sizeVm({});
        const spec = {
          image: settings.image,
          memoryBytes: memory === undefined ? size.memoryBytes : count('memory', memory, 0) * mebibyte,
          vcpus: count('vcpus', vcpus, size.vcpus),
        };
        const { signal } = new Interrupts('making a template');
        using progress = new Progress('making a template');
        const driver = await createVmDriver(settings);
        const outcome = await driver.makeTemplate(spec, {
          signal,
          onProgress: (text) => progress.update(text),
        });
        return print(`template for ${spec.memoryBytes / mebibyte} MiB and ${spec.vcpus} vCPU: ${outcome}\n`);
      }
      default:
        throw new UsageError(`there is no "template ${action}": give list, build, prune or verify`);
    }
  },
});

function render(entries: readonly TemplateEntry[], json: boolean): string {
  const described = entries.map(({ key, usedAt, template, fault }) => ({
    key,
    ...(template === undefined
      ? { fault: fault ?? 'removed meanwhile' }
      : {
          memoryBytes: template.record.memoryBytes,
          vcpus: template.record.vcpus,
          accel: template.record.accel,
          image: template.record.image,
          qemu: template.record.qemu,
          createdAt: template.record.createdAt,
          sizeBytes: bytesOnDisk(template.ram) + bytesOnDisk(template.state),
        }),
    usedAt: usedAt.toISOString(),
  }));
  if (json) return `${JSON.stringify(described, null, 2)}\n`;
  const rows = described.map((one) =>
    'fault' in one
      ? [one.key, '-', '-', '-', '-', one.usedAt, one.fault ?? '']
      : [
          one.key,
          `${one.memoryBytes / mebibyte} MiB`,
          String(one.vcpus),
          one.accel,
          `${Math.round(one.sizeBytes / mebibyte)} MiB`,
          one.usedAt,
          one.image,
        ],
  );
  return table([['KEY', 'MEMORY', 'VCPUS', 'ACCEL', 'SIZE', 'LAST USED', 'IMAGE'], ...rows]);
}

/** stat(2): blocks are of 512 bytes, whatever the file system's are. */
function bytesOnDisk(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
}

/** @returns 1 when one of them was cut or changed */
async function verify(store: TemplateStore, json: boolean): Promise<number> {
  const results: { key: string; fault?: string }[] = [];
  for (const { key, template, fault } of store.list()) {
    let reason = fault;
    if (template !== undefined) await store.verify(template).catch((error) => (reason = messageOf(error)));
    results.push({ key, ...(reason === undefined ? {} : { fault: reason }) });
  }
  if (json) print(`${JSON.stringify(results, null, 2)}\n`);
  else print(results.map(({ key, fault }) => `${key}  ${fault ?? 'ok'}\n`).join(''));
  return results.some(({ fault }) => fault !== undefined) ? 1 : 0;
}
