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
  let openQuotes: string | undefined;
  const note = (path: string[], line: number) => {
    const key = path.join('\0');
    if (!lines.has(key)) lines.set(key, line);
  };
  text.split('\n').forEach((content, index) => {
    const line = index + 1;
    // A script in a string of several lines has lines that look like keys and headers.
    const inString = openQuotes !== undefined;
    openQuotes = quotesOpenAfter(content, openQuotes);
    if (inString) return;
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

// In this order: an escaped pair, then the quotes of several lines, then those of one, then a comment.
const token = /\\.|"""|'''|"(?:[^"\\]|\\.)*"|'[^']*'|#/gs;

/** The quotes (`"""` or `'''`) of a string that goes on after this line. */
function quotesOpenAfter(line: string, open: string | undefined): string | undefined {
  let rest = line;
  let quotes = open;
  for (;;) {
    if (quotes !== undefined) {
      // A literal string has no escapes.
      const end = quotes === "'''" ? /'''/.exec(rest) : /^(?:[^"\\]|\\.|"(?!""))*"""/s.exec(rest);
      if (!end) return quotes;
      rest = rest.slice(end.index + end[0].length);
      quotes = undefined;
    }
    token.lastIndex = 0;
    let found = token.exec(rest);
    while (found && found[0] !== '"""' && found[0] !== "'''" && found[0] !== '#') found = token.exec(rest);
    if (!found || found[0] === '#') return undefined;
    quotes = found[0];
    rest = rest.slice(found.index + 3);
  }
}

function splitKey(key: string): string[] {
  return [...key.matchAll(/"([^"]*)"|'([^']*)'|[\w-]+/g)].map((match) => match[1] ?? match[2] ?? match[0]);
}
