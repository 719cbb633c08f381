/** `packages.json` beside the bundled agent: the npm packages that the bundle took in (scripts/build.ts writes it). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ImageError } from '../errors.ts';

/** Part of the agent's digest, since it decides the SBOM; of no use in the guest, and not put there. */
export const agentPackagesFileName = 'packages.json';

const agentPackagesSchema = z.strictObject({
  packages: z.array(
    z.strictObject({
      name: z.string(),
      version: z.string(),
      license: z.string().nullable(),
      /** Those of the agent's files that hold some of it. */
      files: z.array(z.string()),
    }),
  ),
});

export type AgentPackage = z.infer<typeof agentPackagesSchema>['packages'][number];

/** undefined for an agent that does not say what it is made of. */
export async function readAgentPackages(agentFolder: string): Promise<AgentPackage[] | undefined> {
  const path = join(agentFolder, agentPackagesFileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
  try {
    return agentPackagesSchema.parse(JSON.parse(text)).packages;
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new ImageError('input-missing', `${path} is not a list of packages of this version: ${why}`, {
      cause,
    });
  }
}
