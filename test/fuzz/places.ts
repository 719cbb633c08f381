/** Where inputs are kept, and where what a run finds is put; from the top of the checkout. */
import path from 'node:path';

export const corpus = 'test/corpus';
export const outFolder = 'out/fuzz';

/** The C decoder and the TypeScript decoder read the same inputs, bytes of the link. */
const shared: Record<string, string> = { bytes: 'link', decoder: 'link', differential: 'link' };

export function corpusFolder(target: string): string {
  return path.join(corpus, shared[target] ?? target);
}
