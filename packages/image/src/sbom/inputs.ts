/** Gathers what an SBOM says: which part of the image came from where. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { agentBlobPath, agentScriptPath } from '../boot-protocol.ts';
import type { Made } from '../describe.ts';
import type { PinnedPackage } from '../pins/packages.ts';
import { decodeCpio } from '../root/cpio-decode.ts';
import { type AgentPackage, readAgentPackages } from './agent-packages.ts';
import { readDebianLicences } from './debian-copyright.ts';
import { nodeLibraries } from './node-libraries.ts';
import type { DebianPart, PartFiles, SbomInputs } from './sbom.ts';

const kernelFiles = ['kernel.config', 'vmlinux', 'vmlinuz'];

/**
 * @param folder of the image, with what it boots from already in it
 * @param used packages that something in the root is from
 */
export async function gatherSbomInputs(
  folder: string,
  made: Made,
  used: readonly PinnedPackage[],
): Promise<SbomInputs> {
  const { inputs, kernel, signal } = made;
  const initrd = await initrdFiles(folder, made);
  const inImage = (await readdir(folder)).filter((name) => kernelFiles.includes(name)).sort();
  const kernelPart = await debianPart(inputs.pinned.kernel, made, {
    image: inImage,
    initrd: initrd.filter((path) => path.endsWith('.ko')),
  });
  const debian = await Promise.all(
    used.map((pin) =>
      debianPart(pin, made, {
        root: rootFiles(made, 'debian', pin.name),
        initrd: pin.name === 'busybox-static' ? initrd.filter((path) => path.endsWith('/busybox')) : [],
      }),
    ),
  );
  const { packageName, version, sha256, path } = inputs.node;
  return {
    name: inputs.recipe.name,
    inputs: inputs.digest,
    kernel: {
      ...kernelPart,
      release: kernel.release,
      origin: kernel.origin,
      compiler: kernel.origin === 'built' ? inputs.kernel?.compiler : undefined,
    },
    debian,
    node: {
      packageName,
      version,
      sha256,
      libraries: await nodeLibraries(path, signal),
      files: { root: rootFiles(made, 'npm', packageName) },
    },
    agent: {
      digest: inputs.agentDigest,
      packages: await agentPackages(made),
      files: { root: rootFiles(made, 'agent') },
    },
  };
}

async function debianPart(pin: PinnedPackage, made: Made, files: PartFiles): Promise<DebianPart> {
  return { ...pin, licences: await readDebianLicences(pin.name, made.packages ?? []), files };
}

/** The agent's snapshot, where there is one, holds what agent.js is bundled from. */
async function agentPackages({ inputs, entries }: Made): Promise<AgentPackage[] | undefined> {
  const packages = await readAgentPackages(inputs.agentFolder);
  if (!entries.some(({ path }) => path === agentBlobPath.slice(1))) return packages;
  const placed = (file: string) => (file === basename(agentScriptPath) ? basename(agentBlobPath) : file);
  return packages?.map((one) => ({ ...one, files: one.files.map(placed) }));
}

/** Without links: busybox alone has three hundred. */
function rootFiles({ entries }: Made, kind: string, packageName?: string): string[] {
  return entries.flatMap(({ path, type, origin }) =>
    type === 'file' && origin.kind === kind && (!('package' in origin) || origin.package === packageName)
      ? [path]
      : [],
  );
}

/** Files of the initramfs that comes before the root; a root that is the initramfs is in `entries`. */
async function initrdFiles(folder: string, { root }: Made): Promise<string[]> {
  if (root.filesystem === 'initramfs') return [];
  const path = join(folder, 'initrd.img');
  const archive = await readFile(path).catch(() => undefined);
  if (archive === undefined) return [];
  return decodeCpio(archive, path).flatMap((member) => (member.type === 'file' ? [member.path] : []));
}
