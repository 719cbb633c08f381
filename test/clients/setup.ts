/** vitest's global setup of the project `clients`: one containerd, one dockerd and one Podman for all of its files. */
import type { TestProject } from 'vitest/node';
import { Engines, type World } from './world.ts';

declare module 'vitest' {
  interface ProvidedContext {
    world: World;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const engines = await Engines.start();
  project.provide('world', engines.world);
  return () => engines[Symbol.asyncDispose]();
}
