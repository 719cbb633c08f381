import { expect, test } from 'vitest';
import { defaultSpec, rootlessSpec } from './default-spec.ts';
import { specShape } from './spec.ts';

test('what spec writes is what run accepts', () => {
  for (const spec of [defaultSpec(), rootlessSpec(1000, 1000)]) specShape(spec as never, '');
});

test('rootless maps the user, and asks for nothing that it may not do', () => {
  const { linux, mounts } = rootlessSpec(1000, 100) as never as {
    linux: { uidMappings: unknown; namespaces: { type: string }[] };
    mounts: { destination: string; options?: string[] }[];
  };
  expect(linux).not.toHaveProperty('resources');
  expect(linux.uidMappings).toEqual([{ containerID: 0, hostID: 1000, size: 1 }]);
  expect(linux.namespaces.map(({ type }) => type)).toEqual(['pid', 'ipc', 'uts', 'mount', 'cgroup', 'user']);
  expect(mounts.flatMap(({ options = [] }) => options).filter((option) => option.startsWith('gid='))).toEqual(
    [],
  );
});
