/**
 * The page's script and style. They lie beside the built program; a program that runs from its sources makes them from
 * packages/tap/page.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface PageParts {
  readonly script: string;
  readonly style: string;
}

/** Beside dist/coracle-tap.js; scripts/build.ts writes it. */
export const PAGE_PARTS_FILE = 'coracle-tap-page.json';

export async function loadPageParts(): Promise<PageParts> {
  const built = join(import.meta.dirname, PAGE_PARTS_FILE);
  if (existsSync(built)) return JSON.parse(readFileSync(built, 'utf8')) as PageParts;
  const { bundlePage } = await import('./bundle-page.ts');
  return await bundlePage();
}
