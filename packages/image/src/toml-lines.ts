/**
 * Finds the line on which a key of a TOML file stands, so that an error can name it.
 * The values come from smol-toml, which keeps no positions; this reads only headers and keys.
 */
export type KeyPath = readonly PropertyKey[];

const header = /^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$/;
const assignment = /^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=/;

/** The 1-based line of the longest known prefix of `path`; 1 when none is known. */
export function lineOfKey(text: string, path: KeyPath): number {
  const lines = keyLines(text);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(path.slice(0, length).map(String).join('\0'));
    if (line !== undefined) return line;
  }
  return 1;
}

function keyLines(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  const counts = new Map<string, number>();
  let table: string[] = [];
  const note = (path: string[], line: number) => {
    const key = path.join('\0');
    if (!lines.has(key)) lines.set(key, line);
  };
  text.split('\n').forEach((content, index) => {
    const line = index + 1;
    const opened = header.exec(content);
    if (opened) {
      table = splitKey(opened[2] ?? '');
      if (opened[1] === '[[') {
        const key = table.join('\0');
        const count = counts.get(key) ?? 0;
        counts.set(key, count + 1);
        note(table, line);
        table = [...table, String(count)];
      }
      note(table, line);
      return;
    }
    const assigned = assignment.exec(content);
    if (assigned) note([...table, ...splitKey(assigned[1] ?? '')], line);
  });
  return lines;
}

function splitKey(key: string): string[] {
  return [...key.matchAll(/"([^"]*)"|'([^']*)'|[\w-]+/g)].map((match) => match[1] ?? match[2] ?? match[0]);
}
