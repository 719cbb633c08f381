/** What is in force and where it comes from, for `coracle env`: nothing is tried, so it answers at once. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { ociVersion, version } from '../cli/version.ts';
import { defaultRoot, installation, type Settings } from './settings.ts';

export interface Environment {
  readonly version: string;
  readonly ociVersion: string;
  readonly installation: string;
  readonly settings: Readonly<Record<string, Setting>>;
  /** Undefined where there is none: `coracle doctor` says what to do. */
  readonly programs: { readonly node: string; readonly qemu?: string; readonly virtiofsd?: string };
  readonly image: { readonly kernel?: string; readonly node?: string; readonly crun?: string };
  readonly host: { readonly kernel: string; readonly cpus: number; readonly availableBytes: number };
}

interface Setting {
  readonly value: string | number;
  /** The variable or flag that decides it; undefined when nothing was said. */
  readonly from?: string;
}

const variables: Readonly<Record<keyof Settings, string>> = {
  runDirectory: 'CORACLE_RUN',
  image: 'CORACLE_IMAGE',
  accel: 'CORACLE_ACCEL',
  driver: 'CORACLE_DRIVER',
  transport: 'CORACLE_TRANSPORT',
  template: 'CORACLE_TEMPLATE',
  proxy: 'CORACLE_PROXY',
  metrics: 'CORACLE_METRICS',
  bootTimeoutMs: 'CORACLE_BOOT_TIMEOUT_MS',
};

export async function readEnvironment(
  root: string,
  settings: Settings,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Environment> {
  const { findQemu, findVirtiofsd, hostSize, cacheDirectory } = await import('@coracle/vm');
  const { cpus, availableBytes } = hostSize();
  const named = (value: string | number, variable: string): Setting =>
    env[variable] ? { value, from: variable } : { value };
  const qemu = unlessMissing(() => findQemu({}));
  const virtiofsd = findVirtiofsd({});
  return {
    version,
    ociVersion,
    installation: installation(),
    settings: {
      root: root === defaultRoot ? { value: root } : { value: root, from: '--root' },
      ...Object.fromEntries(
        Object.entries(variables).map(([name, variable]) => [
          name,
          named(settings[name as keyof Settings], variable),
        ]),
      ),
      // bin/coracle has set its variable in any case.
      cache: { value: cacheDirectory(env) },
    },
    programs: {
      node: process.execPath,
      ...(qemu === undefined ? {} : { qemu }),
      ...(virtiofsd === undefined ? {} : { virtiofsd }),
    },
    image: describeImage(settings.image),
    host: { kernel: release(), cpus, availableBytes },
  };
}

function unlessMissing(find: () => string): string | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}

/** Versions of what is in it; nothing when there is no image. */
function describeImage(directory: string): Environment['image'] {
  try {
    const { versions } = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'));
    return Object.fromEntries(
      ['kernel', 'node', 'crun'].flatMap((name) =>
        typeof versions?.[name] === 'string' ? [[name, versions[name] as string]] : [],
      ),
    );
  } catch {
    return {};
  }
}
