/** The image of the tests, in the forms that engines take: busybox, a passwd and a group file. There is no registry. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeRootfs } from '../support/rootfs.ts';

/** As the engines know it. containerd wants the whole reference. */
export const imageName = 'docker.io/library/busybox:test';

export interface Images {
  /** The root file system as a tar file, for `docker import`. */
  readonly rootfs: string;
  /** An OCI image layout as a tar file, for `ctr image import` and `podman load`. */
  readonly archive: string;
}

export function makeImages(folder: string): Images {
  const root = join(folder, 'busybox');
  makeRootfs(root);
  mkdirSync(join(root, 'root'));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nuser:x:1000:\nother:x:2000:user\n');
  const rootfs = join(folder, 'rootfs.tar');
  execFileSync('tar', ['--numeric-owner', '--owner=0', '--group=0', '-C', root, '-cf', rootfs, '.']);
  rmSync(root, { recursive: true });
  return { rootfs, archive: makeArchive(folder, rootfs) };
}

/** image-layout.md, manifest.md and config.md of the OCI image specification. */
function makeArchive(folder: string, layerFile: string): string {
  const layout = join(folder, 'layout');
  const blobs = join(layout, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const blob = (mediaType: string, content: Buffer | object) => {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const digest = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const layer = blob('application/vnd.oci.image.layer.v1.tar', readFileSync(layerFile));
  const config = blob('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin'], Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
  });
  const manifest = blob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: [layer],
  });
  // containerd names an image by the first annotation, Podman by the second.
  const annotations = {
    'io.containerd.image.name': imageName,
    'org.opencontainers.image.ref.name': imageName,
  };
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const archive = join(folder, 'image.tar');
  execFileSync('tar', ['-C', layout, '-cf', archive, '.']);
  rmSync(layout, { recursive: true });
  return archive;
}
