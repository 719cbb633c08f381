/**
 * Takes user data out of control messages. The message stays a message of its schema: what is left out is replaced by
 * a placeholder. Works on the protobuf wire format itself (https://protobuf.dev/programming-guides/encoding), since
 * decoding and encoding anew would lose fields of a later version; and on anything a peer sends, since what can't be
 * read is left out.
 */
import { type MessageRules, methodRules, RequestField, ResponseField } from './schema.ts';

/** What stands for a field that was left out. */
export type Placeholder = (content: Uint8Array, declaredBytes: number) => string;

export interface RedactOptions {
  readonly placeholder: Placeholder;
  /** Only what is `secret` is replaced. */
  readonly secretsOnly: boolean;
}

const NO_RULES: MessageRules = {};

/** @param bytes a Request message, or the beginning of one */
export function redactRequest(
  bytes: Buffer,
  options: RedactOptions,
): { readonly bytes: Buffer; readonly method: string } {
  const method = findText(bytes, RequestField.method) ?? '';
  const rules = {
    [RequestField.method]: 'kept',
    [RequestField.payload]: rulesOf(method)?.request ?? NO_RULES,
    [RequestField.idempotencyKey]: 'kept',
  } as const;
  return { bytes: redactMessage(bytes, rules, options), method };
}

/** @param bytes a Response message, or the beginning of one; @param method of its request, '' when it is not known */
export function redactResponse(bytes: Buffer, method: string, options: RedactOptions): Buffer {
  const known = rulesOf(method)?.response;
  // Without its method nobody knows what is secret in it.
  const rules: MessageRules = {
    [ResponseField.payload]: known ?? 'secret',
    [ResponseField.error]: NO_RULES,
  };
  return redactMessage(bytes, rules, options);
}

function rulesOf(method: string) {
  return Object.hasOwn(methodRules, method) ? methodRules[method] : undefined;
}

/** One field as it stands on the wire. */
interface Field {
  readonly number: number;
  readonly wireType: number;
  /** From its tag to its end. */
  readonly whole: Buffer;
  /** Of a length-delimited field: what is there of its content, and how long it says it is. */
  readonly content: Buffer;
  readonly declaredBytes: number;
}

function redactMessage(bytes: Buffer, rules: MessageRules, options: RedactOptions): Buffer {
  const parts: Buffer[] = [];
  for (const field of readFields(bytes)) {
    const { number, wireType, whole, content, declaredBytes } = field;
    if (wireType !== LENGTH_DELIMITED) {
      parts.push(whole);
      continue;
    }
    const rule = Object.hasOwn(rules, number) ? rules[number] : undefined;
    const cut = content.length < declaredBytes;
    if (typeof rule === 'object') parts.push(lengthDelimited(number, redactMessage(content, rule, options)));
    else if (rule === 'secret' || !(options.secretsOnly || (rule === 'kept' && !cut)))
      parts.push(lengthDelimited(number, Buffer.from(options.placeholder(content, declaredBytes), 'latin1')));
    else parts.push(whole);
  }
  return Buffer.concat(parts);
}

function findText(bytes: Buffer, wanted: number): string | undefined {
  for (const { number, wireType, content } of readFields(bytes))
    if (number === wanted && wireType === LENGTH_DELIMITED) return content.toString('utf8');
  return undefined;
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;
const NO_CONTENT: Buffer = Buffer.alloc(0);

/** As far as they can be read; a field that is cut comes last. */
function* readFields(bytes: Buffer): Generator<Field> {
  let at = 0;
  while (at < bytes.length) {
    const tag = readVarint(bytes, at);
    if (tag === undefined) return;
    const number = Math.floor(tag.value / 8);
    const wireType = tag.value % 8;
    let end: number;
    let content: Buffer = NO_CONTENT;
    let declaredBytes = 0;
    if (wireType === VARINT) {
      const value = readVarint(bytes, tag.end);
      if (value === undefined) return;
      end = value.end;
    } else if (wireType === LENGTH_DELIMITED) {
      const length = readVarint(bytes, tag.end);
      if (length === undefined) return;
      declaredBytes = length.value;
      content = bytes.subarray(length.end, length.end + declaredBytes);
      end = length.end + content.length;
    } else if (wireType === FIXED64 || wireType === FIXED32) {
      end = tag.end + (wireType === FIXED64 ? 8 : 4);
      if (end > bytes.length) return;
    } else return;
    yield { number, wireType, whole: bytes.subarray(at, end), content, declaredBytes };
    at = end;
  }
}

/** Values above 2^53 lose digits, which nobody looks at; undefined for a cut or too long one. */
function readVarint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  let factor = 1;
  for (let index = at; index < at + 10; index++) {
    const byte = bytes[index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: index + 1 };
    factor *= 128;
  }
  return undefined;
}

function lengthDelimited(number: number, content: Buffer): Buffer {
  return Buffer.concat([varint(number * 8 + LENGTH_DELIMITED), varint(content.length), content]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
