/**
 * JSON whose large whole numbers survive. A config.json may say 18446744073709551615 for "no limit"; as a
 * number of JavaScript it would come out as 18446744073709552000, which no Go or C program takes.
 */

// ECMAScript proposal "JSON.parse source text access", in V8 since 11.4; TypeScript does not know it yet.
const json = JSON as typeof JSON & { rawJSON(text: string): object; isRawJSON(value: unknown): boolean };
type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;

const keepLargeNumbers: Reviver = (_key, value, { source }) =>
  typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && /^-?\d+$/.test(source)
    ? json.rawJSON(source)
    : value;

/** True for what `parseJson` makes of a whole number that JavaScript has no room for. */
export function isLargeInteger(value: unknown): boolean {
  return json.isRawJSON(value);
}

/**
 * As JSON.parse, but whole numbers above 2^53 - 1 become opaque objects that JSON.stringify writes as they stood.
 * @throws SyntaxError
 */
export function parseJson(text: string): unknown {
  return JSON.parse(text, keepLargeNumbers as (key: string, value: unknown) => unknown);
}
