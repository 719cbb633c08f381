/** Starting from a template beside booting, in one run, by turns; issue 5's numbers. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Coracle, type Sandbox } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import { createQemuDriver, type QemuDriver, sizeVm, type Vm } from '@coracle/vm';
import { debianRoot } from '../scripts/bundle.ts';
import { imageFolder } from './baseline.ts';
import type { Place } from './place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

const TOGETHER = 10;

export async function benchTemplate(place: Place, rounds: number): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  const sandboxes = path.join(folder, 'sandboxes');
  mkdirSync(sandboxes);
  const proxy = new ProxyServer({ sandboxes });
  await proxy.listen(path.join(folder, 'proxy.sock'));
  const bench = new TemplateBench(new Coracle({ proxy: path.join(folder, 'proxy.sock'), sandboxes }));
  const restored = createQemuDriver({ template: 'auto' });
  try {
    await restored.makeTemplate({ image: imageFolder, ...sizeVm({}) });
    const booted = createQemuDriver({ template: 'off', transport: 'virtio-serial' });
    return [
      ...(await bench.answers(booted, restored, rounds)),
      ...(await runs(place, rounds)),
      await bench.together(restored),
      ...(await bench.memory(booted, restored)),
    ];
  } finally {
    await proxy.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Started {
  readonly sandbox: Sandbox;
  readonly vm: Vm;
  /** From the call of the driver: until QEMU goes on, and until the agent has prepared its sandbox. */
  readonly goesOnMs: number;
  readonly answersMs: number;
}

class TemplateBench {
  readonly #coracle: Coracle;

  constructor(coracle: Coracle) {
    this.#coracle = coracle;
  }

  async #start(driver: QemuDriver, shared = true): Promise<Started> {
    let began = 0;
    let goesOnMs = 0;
    let vm: Vm | undefined;
    const binds = [{ name: 'rootfs', source: debianRoot() }];
    const sandbox = await this.#coracle.startSandbox({
      ...sizeVm({}),
      image: imageFolder,
      shares: shared ? [{ tag: 'containers', binds }] : [],
      vm: {
        name: 'qemu',
        async start(spec) {
          began = performance.now();
          vm = await driver.start(spec);
          goesOnMs = performance.now() - began;
          return vm;
        },
      },
    });
    return { sandbox, vm: vm!, goesOnMs, answersMs: performance.now() - began };
  }

  async answers(booted: QemuDriver, restored: QemuDriver, rounds: number): Promise<Row[]> {
    const samples = { cold: [] as number[], template: [] as number[], goesOn: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      const cold = await this.#start(booted);
      samples.cold.push(cold.answersMs);
      await cold.sandbox.destroy({ force: true });
      const warm = await this.#start(restored);
      if (warm.vm.template === undefined) throw new Error('the VM was not started from the template');
      samples.template.push(warm.answersMs);
      samples.goesOn.push(warm.goesOnMs);
      await warm.sandbox.destroy({ force: true });
    }
    const baseline = { name: 'booted', samples: samples.cold };
    const quarter = median(samples.cold) / 4;
    return [
      {
        name: "start to the agent's answer",
        unit: 'ms',
        samples: samples.template,
        baseline,
        target: { text: '≤ 500 ms', atMost: 500 },
        note: 'virtiofsd, QEMU, link, CreateSandbox with the share mounted',
      },
      {
        name: '  beside a boot',
        unit: 'ms',
        samples: samples.template,
        baseline,
        target: { text: `≤ a quarter = ${quarter.toFixed(0)} ms`, atMost: quarter },
      },
      { name: '  until QEMU goes on', unit: 'ms', samples: samples.goesOn },
    ];
  }

  async together(driver: QemuDriver): Promise<Row> {
    const started = performance.now();
    const all = await Promise.all(Array.from({ length: TOGETHER }, () => this.#start(driver)));
    const allMs = performance.now() - started;
    await Promise.all(all.map(({ sandbox }) => sandbox.destroy({ force: true })));
    return {
      name: `${TOGETHER} at once, until the last one answers`,
      unit: 'ms',
      samples: [allMs],
      target: { text: '≤ 4000 ms', atMost: 4000 },
    };
  }

  /** QEMU's and virtiofsd's share of the host's memory, ten VMs running (proc(5): smaps_rollup, Pss). */
  async memory(booted: QemuDriver, restored: QemuDriver): Promise<Row[]> {
    const cold = await this.#pss(booted, true);
    const copied = await this.#pss(restored, true);
    const mapped = await this.#pss(restored, false);
    const atMost = median(cold) * 0.6;
    const target = { text: `≤ 60 % = ${atMost.toFixed(0)} MiB`, atMost };
    const baseline = { name: 'booted', samples: cold };
    return [
      { name: 'idle VM, PSS of ten, with a share', unit: 'MiB', samples: copied, baseline, target },
      { name: 'idle VM, PSS of ten, memory mapped', unit: 'MiB', samples: mapped, baseline, target },
    ];
  }

  async #pss(driver: QemuDriver, shared: boolean): Promise<number[]> {
    const all: Started[] = [];
    for (let n = 0; n < TOGETHER; n++) all.push(await this.#start(driver, shared));
    const samples = all.map(({ vm }) => vm.pids.reduce((sum, pid) => sum + pssKib(pid), 0) / 1024);
    await Promise.all(all.map(({ sandbox }) => sandbox.destroy({ force: true })));
    return samples;
  }
}

const pssKib = (pid: number): number =>
  Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1] ?? 0);

/** `coracle run … true`, whole. */
async function runs(place: Place, rounds: number): Promise<Row[]> {
  const bundle = place.bundle('template', ['true']);
  const samples: Record<'off' | 'existing', number[]> = { off: [], existing: [] };
  for (let round = 0; round < rounds; round++) {
    for (const template of ['off', 'existing'] as const) {
      const ms = await place.time(['run', '--bundle', bundle, `template-${template}-${round}`], {
        CORACLE_TEMPLATE: template,
      });
      samples[template].push(ms);
    }
  }
  return [
    {
      name: 'coracle run … true',
      unit: 'ms',
      samples: samples.existing,
      baseline: { name: 'booted', samples: samples.off },
      target: { text: '≤ 1200 ms', atMost: 1200 },
    },
  ];
}
