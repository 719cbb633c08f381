/**
 * `sbom.cdx.json`: everything inside an image, in CycloneDX 1.6. The same image gives the same bits, so it has no
 * timestamp, and its serial number is made from the digest of the inputs.
 */
import { ComponentType, HashAlgorithm } from '@cyclonedx/cyclonedx-library/Enums';
import {
  Bom,
  Component,
  type License,
  LicenseExpression,
  NamedLicense,
  Property,
  SpdxLicense,
  Tool,
} from '@cyclonedx/cyclonedx-library/Models';
import { JsonSerializer, JSON as SerializeJson } from '@cyclonedx/cyclonedx-library/Serialize';
import { fixupSpdxId } from '@cyclonedx/cyclonedx-library/SPDX';
import { Spec1dot6 } from '@cyclonedx/cyclonedx-library/Spec';
import type { KernelOrigin } from '../kernel/kernel.ts';
import type { AgentPackage } from './agent-packages.ts';
import type { NodeLibrary } from './node-libraries.ts';
import { cpe, debianPurl, genericPurl, npmPurl, upstreamVersion } from './package-names.ts';

export interface SbomInputs {
  readonly name: string;
  /** Digest of all inputs, of the manifest. */
  readonly inputs: string;
  /** The package that it is in; built: the package of the source that it was compiled from. */
  readonly kernel: DebianPart & {
    readonly release: string;
    readonly origin: KernelOrigin;
    /** undefined for a prebuilt one. */
    readonly compiler: string | undefined;
  };
  readonly debian: readonly DebianPart[];
  readonly node: {
    readonly packageName: string;
    readonly version: string;
    readonly sha256: string;
    readonly libraries: readonly NodeLibrary[];
    readonly files: PartFiles;
  };
  readonly agent: {
    readonly digest: string;
    readonly files: PartFiles;
    /** undefined: it does not say. */
    readonly packages: readonly AgentPackage[] | undefined;
  };
}

export interface DebianPart {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
  readonly depends: readonly string[];
  /** As Debian names them; undefined where that is not written for machines. */
  readonly licences: readonly string[] | undefined;
  readonly files: PartFiles;
}

/** What came from a part: files of the image's folder, and paths in its file systems without a leading slash. */
export interface PartFiles {
  readonly image?: readonly string[];
  readonly initrd?: readonly string[];
  readonly root?: readonly string[];
}

export function makeSbom(inputs: SbomInputs): string {
  const image = new Component(ComponentType.OperatingSystem, inputs.name, {
    bomRef: 'image',
    version: inputs.inputs,
  });
  const kernel = kernelComponent(inputs.kernel);
  const debian = [
    { part: inputs.kernel, component: kernel },
    ...inputs.debian.map((part) => ({ part, component: debianComponent(part, ComponentType.Library) })),
  ];
  for (const { part, component } of debian) {
    for (const name of part.depends) {
      const needed = debian.find((one) => one.part.name === name);
      if (needed) component.dependencies.add(needed.component.bomRef);
    }
  }
  const node = nodeComponent(inputs.node);
  const agent = agentComponent(inputs.agent);
  agent.dependencies.add(node.bomRef);

  const bom = new Bom({ serialNumber: serialNumber(inputs.inputs) });
  bom.metadata.component = image;
  bom.metadata.tools.tools.add(new Tool({ vendor: 'coracle', name: 'coracle-image' }));
  for (const component of [...debian.map((one) => one.component), node, agent]) {
    bom.components.add(component);
    image.dependencies.add(component.bomRef);
  }
  const serializer = new JsonSerializer(new SerializeJson.Normalize.Factory(Spec1dot6));
  // Not sorted by the library, which goes by the user's locale; everything is added in a fixed order.
  return `${serializer.serialize(bom, { sortLists: false, space: 2 })}\n`;
}

/** A UUID of version 8, which leaves its digits to whoever makes it (RFC 9562, 5.8). */
function serialNumber(digest: string): string {
  const at = (from: number, to: number) => digest.slice(from, to);
  return `urn:uuid:${at(0, 8)}-${at(8, 12)}-8${at(12, 15)}-8${at(15, 18)}-${at(18, 30)}`;
}

function debianComponent(part: DebianPart, type: ComponentType): Component {
  const purl = debianPurl(part);
  const component = new Component(type, part.name, { bomRef: purl, purl, version: part.version });
  component.hashes.set(HashAlgorithm['SHA-256'], part.sha256);
  for (const licence of debianLicences(part.licences ?? [])) component.licenses.add(licence);
  return withFiles(component, part.files);
}

function kernelComponent(part: SbomInputs['kernel']): Component {
  const component = debianComponent(part, ComponentType.OperatingSystem);
  component.cpe = cpe('linux:linux_kernel', upstreamVersion(part.version), 'o');
  component.properties.add(new Property('coracle:kernel-release', part.release));
  component.properties.add(new Property('coracle:kernel-origin', part.origin));
  if (part.origin === 'built') {
    component.description =
      'Linux, compiled from the source in this package with the configuration in kernel.config; the hash is of the package';
    if (part.compiler) component.properties.add(new Property('coracle:kernel-compiler', part.compiler));
  }
  return component;
}

function nodeComponent(node: SbomInputs['node']): Component {
  const purl = npmPurl(node.packageName, node.version);
  const component = new Component(ComponentType.Platform, node.packageName, {
    bomRef: purl,
    purl,
    version: node.version,
    cpe: cpe('nodejs:node.js', node.version),
    description: 'Node.js; the hash is of its bin/node, before it was stripped',
  });
  component.hashes.set(HashAlgorithm['SHA-256'], node.sha256);
  component.licenses.add(new SpdxLicense('MIT'));
  for (const library of node.libraries) {
    const { name, version, kind, npm } = library;
    const libraryPurl = npm === undefined ? genericPurl(name, version) : npmPurl(npm, version);
    component.components.add(
      new Component(kind === 'data' ? ComponentType.Data : ComponentType.Library, name, {
        bomRef: `node/${name}`,
        version,
        purl: libraryPurl,
        ...(library.cpe === undefined ? {} : { cpe: cpe(library.cpe, version) }),
      }),
    );
  }
  return withFiles(component, node.files);
}

function agentComponent(agent: SbomInputs['agent']): Component {
  const component = new Component(ComponentType.Application, 'coracle-agent', {
    bomRef: 'agent',
    version: agent.digest,
  });
  component.licenses.add(new SpdxLicense('Apache-2.0'));
  if (agent.packages === undefined)
    component.properties.add(new Property('coracle:bundled-packages', 'unknown'));
  for (const { name, version, license, files } of agent.packages ?? []) {
    const purl = npmPurl(name, version);
    const bundled = new Component(ComponentType.Library, name, {
      bomRef: `agent/${name}@${version}`,
      version,
      purl,
    });
    if (license !== null) bundled.licenses.add(npmLicence(license));
    const root = (agent.files.root ?? []).filter((path) => files.some((file) => path.endsWith(`/${file}`)));
    component.components.add(withFiles(bundled, { root }));
  }
  return withFiles(component, agent.files);
}

function withFiles(component: Component, files: PartFiles): Component {
  for (const [where, paths] of Object.entries(files)) {
    for (const path of paths ?? []) component.properties.add(new Property(`coracle:${where}-file`, path));
  }
  return component;
}

/** Debian's names of what SPDX names otherwise; `+` is "or later" in both. */
const debianNames: Readonly<Record<string, string>> = { Expat: 'MIT', zlib: 'Zlib' };

/** Two of Debian's names may be one of SPDX's. */
function debianLicences(names: readonly string[]): License[] {
  return [...new Map(names.map((name) => [spdxName(name), spdxLicence(spdxName(name), name)])).values()];
}

function spdxName(name: string): string {
  const gnu = /^(A?GPL|LGPL)-(\d)(\.\d)?(\+?)$/.exec(name);
  if (!gnu) return fixupSpdxId(debianNames[name] ?? name) ?? name;
  return `${gnu[1]}-${gnu[2]}${gnu[3] ?? '.0'}-${gnu[4] ? 'or-later' : 'only'}`;
}

/** What SPDX has no name for is named as it is. */
function spdxLicence(name: string, otherwise: string): License {
  const id = fixupSpdxId(name);
  return id === undefined ? new NamedLicense(otherwise) : new SpdxLicense(id);
}

/** npm's are SPDX expressions. */
function npmLicence(name: string): License {
  return /\b(AND|OR|WITH)\b/.test(name) ? new LicenseExpression(name) : spdxLicence(name, name);
}
