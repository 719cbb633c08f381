/**
 * One HTML file that needs nothing else and asks for nothing: its policy lets its own script and style in, by their
 * digests, and nothing more. What comes from the capture is in one JSON text that can't end its element.
 */
import { createHash } from 'node:crypto';
import { jsonLine } from '../words/text.ts';
import type { ReportData } from './data.ts';
import type { PageParts } from './page-parts.ts';

export function reportHtml(data: ReportData, { script, style }: PageParts): string {
  // Within an element a script's text may hold anything but its end.
  const safeScript = script.replaceAll('</script', '<\\/script');
  const policy = [
    "default-src 'none'",
    `script-src '${digest(safeScript)}'`,
    `style-src '${digest(style)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escaped(data.title)} · Coracle</title>
<style>${style}</style>
</head>
<body>
<noscript><p>This page draws itself: it needs JavaScript.</p></noscript>
<div id="page"></div>
<script type="application/json" id="data">${inScript(jsonLine(data))}</script>
<script>${safeScript}</script>
</body>
</html>
`;
}

function digest(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] as string);
}

/** JSON without a character that means something to HTML. */
function inScript(json: string): string {
  return json.replaceAll(/[<>&]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
}
