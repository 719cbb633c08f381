/** What V8 says about broken JSON, with line and column in every case. */
export function jsonError(text: string, error: SyntaxError): string {
  const offset = errorOffset(text);
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  const reason = error.message
    .replace(/ in JSON at position.*$/s, '')
    .replace(/, (\.\.\.)?".*is not valid JSON$/s, '');
  return `line ${line}, column ${column}: ${reason}`;
}

/**
 * V8 gives the position in some of its messages only. But a text that is cut off before the error fails for
 * its end, and one that is cut behind it fails for the error: the border is searched by halves.
 */
function errorOffset(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (failsAtItsEnd(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function failsAtItsEnd(prefix: string): boolean {
  try {
    JSON.parse(prefix);
    return true;
  } catch (error) {
    const { message } = error as SyntaxError;
    if (/^Unexpected end|^Unterminated string/.test(message)) return true;
    return Number(/at position (\d+)/.exec(message)?.[1] ?? -1) >= prefix.length;
  }
}
