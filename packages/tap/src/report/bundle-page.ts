/** Makes the page's script and style of packages/tap/page; never part of the built program, nor is esbuild. */
import { join } from 'node:path';
import { build } from 'esbuild';
import type { PageParts } from './page-parts.ts';

export async function bundlePage(): Promise<PageParts> {
  const folder = join(import.meta.dirname, '../../page');
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'main.ts'), join(folder, 'style.css')],
    outdir: folder,
    write: false,
    bundle: true,
    minify: true,
    platform: 'browser',
    target: 'es2022',
    format: 'iife',
    legalComments: 'inline',
    logLevel: 'silent',
  });
  const text = (ending: string): string => outputFiles.find(({ path }) => path.endsWith(ending))?.text ?? '';
  return { script: text('.js'), style: text('.css') };
}
