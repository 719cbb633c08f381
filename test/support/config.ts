import type { OciConfig } from '@coracle/client';

/** What tests change of it. */
export type Config = OciConfig & {
  process: { args: readonly string[]; terminal?: boolean; capabilities?: unknown };
  linux: { namespaces: unknown[]; resources?: unknown };
};

/** The configuration of a container that runs `args`. */
export function containerConfig(
  args: readonly string[],
  { rootfs = 'rootfs', ...process }: OciConfig['process'] & { rootfs?: string } = {},
): Config {
  return {
    ociVersion: '1.0.2',
    hostname: 'contract',
    process: {
      args,
      env: ['PATH=/bin', 'TERM=xterm'],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      ...process,
    },
    root: { path: rootfs },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'network' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
    },
  };
}
