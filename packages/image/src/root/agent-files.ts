/**
 * The agent's part of the root, below /opt/coracle.
 *
 * `init` is what the kernel starts: its first line names Node and the agent, so whatever words of the kernel's command
 * line nobody knows (the kernel hands them to process 1) come after them and do no harm.
 */
import { join } from 'node:path';
import { agentBlobPath, agentFolder, agentInitPath, agentScriptPath, nodePath } from '../boot-protocol.ts';
import { listFiles } from '../digest.ts';
import { agentPackagesFileName } from '../sbom/agent-packages.ts';
import type { Program } from './libraries.ts';
import type { RootTree } from './root-tree.ts';
import { makeSnapshot } from './snapshot.ts';

/** The entry point of a snapshot, beside agent.js (scripts/build.ts). */
const snapshotFileName = 'snapshot.cjs';
/** Of no use once there is a snapshot. */
const sources = ['agent.js', snapshotFileName, 'package.json'];

const origin = { kind: 'agent' } as const;

/** @returns files whose libraries the image needs, should they be programs */
export async function addAgentFiles(
  tree: RootTree,
  agent: string,
  nodeFlags: readonly string[],
): Promise<Program[]> {
  const programs: Program[] = [];
  const files = (await listFiles(agent)).filter((file) => file !== agentPackagesFileName);
  const hasSnapshot = files.includes(snapshotFileName);
  for (const file of files) {
    if (hasSnapshot && sources.includes(file)) continue;
    const source = join(agent, file);
    await tree.copy(`${agentFolder.slice(1)}/${file}`, source, 0o644, origin);
    programs.push({ path: source, name: `${agentFolder}/${file}` });
  }
  const init = initLine(nodeFlags, hasSnapshot);
  await tree.text(agentInitPath.slice(1), init, 0o755, origin);
  return programs;
}

/** Once Node and its libraries are in the tree: it is that Node that makes the snapshot. */
export async function addAgentSnapshot(
  tree: RootTree,
  agent: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<void> {
  if (!(await listFiles(agent)).includes(snapshotFileName)) return;
  const blob = join(scratch, 'agent.blob');
  await makeSnapshot(tree.folder, join(agent, snapshotFileName), blob, signal);
  await tree.copy(agentBlobPath.slice(1), blob, 0o644, origin);
}

/** execve(2): all that follows the interpreter is one argument. */
function initLine(nodeFlags: readonly string[], hasSnapshot: boolean): string {
  if (hasSnapshot && nodeFlags.length === 0) return `#!${nodePath} --snapshot-blob=${agentBlobPath}\n`;
  const agent = hasSnapshot ? `--snapshot-blob ${agentBlobPath}` : agentScriptPath;
  return `#!/usr/bin/busybox sh\nexec ${[nodePath, ...nodeFlags, agent].join(' ')}\n`;
}
