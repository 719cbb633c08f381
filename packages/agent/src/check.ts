/** Checks of JSON that came from a client: each names the field that is wrong. */
import { parseJson, RpcError } from '@coracle/wire';

export type JsonObject = Record<string, unknown>;

export function invalid(field: string, problem: string): RpcError {
  return new RpcError('invalid_argument', `${field} ${problem}`);
}

/** @param what for messages: "config.json" */
export function parseObject(bytes: Uint8Array, what: string): JsonObject {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RpcError('invalid_argument', `${what} is not valid JSON: ${(error as Error).message}`);
  }
  return asObject(value, what);
}

export function asObject(value: unknown, field: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(field, `must be an object, it is ${describe(value)}`);
  }
  return value as JsonObject;
}

/** Undefined and null both mean absent, as for Go programs, which write most of these files. */
export function optionalObject(value: unknown, field: string): JsonObject | undefined {
  return value === undefined || value === null ? undefined : asObject(value, field);
}

export function optionalArray(value: unknown, field: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(field, `must be an array, it is ${describe(value)}`);
  return value;
}

export function asString(value: unknown, field: string): string {
  if (typeof value !== 'string') throw invalid(field, `must be a string, it is ${describe(value)}`);
  if (value.includes('\0')) throw invalid(field, 'must not contain a NUL byte');
  return value;
}

export function optionalBoolean(value: unknown, field: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw invalid(field, `must be true or false, it is ${describe(value)}`);
  return value;
}

export function optionalInteger(value: unknown, field: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Number.isSafeInteger(value)) throw invalid(field, `must be a whole number, it is ${describe(value)}`);
  return value as number;
}

export function strings(value: unknown, field: string): string[] {
  return optionalArray(value, field).map((item, index) => asString(item, `${field}[${index}]`));
}

/** Ids become file names and cgroup names. */
export function checkId(id: string, field: string): void {
  if (!/^[A-Za-z0-9_.+-]{1,1024}$/.test(id) || id === '.' || id === '..') {
    const shown = JSON.stringify(id.slice(0, 64));
    throw invalid(field, `must be made of letters, digits and _ . + -, it is ${shown}`);
  }
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
