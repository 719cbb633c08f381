/** What Node itself is made of: the program says so in `process.versions`. */
import { run } from '../run.ts';

export interface NodeLibrary {
  readonly name: string;
  readonly version: string;
  readonly kind: 'library' | 'data';
  /** The npm package that it is published as, where it is. */
  readonly npm?: string;
  /** Vendor and product in the dictionary that vulnerability databases use. */
  readonly cpe?: string;
}

/** Keys that name no part: Node, and versions of its interfaces. */
const interfaces = ['node', 'modules', 'napi'];

const known: Readonly<Record<string, Partial<NodeLibrary>>> = {
  acorn: { npm: 'acorn' },
  amaro: { npm: 'amaro' },
  ares: { name: 'c-ares', cpe: 'c-ares:c-ares' },
  brotli: { cpe: 'google:brotli' },
  cjs_module_lexer: { name: 'cjs-module-lexer', npm: 'cjs-module-lexer' },
  cldr: { kind: 'data' },
  nghttp2: { cpe: 'nghttp2:nghttp2' },
  openssl: { cpe: 'openssl:openssl' },
  sqlite: { cpe: 'sqlite:sqlite' },
  tz: { name: 'tzdata', kind: 'data' },
  undici: { npm: 'undici', cpe: 'nodejs:undici' },
  unicode: { kind: 'data' },
  uv: { name: 'libuv', cpe: 'libuv:libuv' },
};

/** Runs the program; its parts are sorted by name. */
export async function nodeLibraries(nodePath: string, signal?: AbortSignal): Promise<NodeLibrary[]> {
  const printed = await run(nodePath, ['--print', 'JSON.stringify(process.versions)'], { signal });
  return describeNodeLibraries(JSON.parse(printed) as Record<string, string>);
}

/** @param versions `process.versions`; an empty version is a part that was left out of this Node. */
export function describeNodeLibraries(versions: Readonly<Record<string, string>>): NodeLibrary[] {
  return Object.entries(versions)
    .filter(([key, version]) => version !== '' && !interfaces.includes(key))
    .map(([key, version]) => ({ name: key, version, kind: 'library' as const, ...known[key] }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
