/** What V8 says about broken JSON, with line and column in every case and the line itself. */
export function jsonError(text: string, error: SyntaxError): string {
  const position = /at position (\d+)/.exec(error.message)?.[1];
  // "Unexpected end of JSON input" has no position: it is the end.
  const offset = position === undefined ? text.length : Number(position);
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  const reason = error.message
    .replace(/ in JSON at position.*$/s, '')
    .replace(/, ".*" is not valid JSON$/s, '');
  return `line ${line}, column ${column}: ${reason}`;
}
