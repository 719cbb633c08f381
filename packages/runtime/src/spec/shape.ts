/** Checks of foreign JSON by hand: every message names the field as one would write it in jq. */

import { isLargeInteger } from '@coracle/client';

export class ShapeError extends Error {
  override readonly name = 'ShapeError';
}

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json | undefined };
type Check = (value: Json, path: string) => void;

function kindOf(value: Json): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  const kind = typeof value;
  return kind === 'object' ? 'an object' : `a ${kind}`;
}

function fail(path: string, expected: string, value: Json): never {
  throw new ShapeError(`${path || 'the file'} must be ${expected}, not ${kindOf(value)}`);
}

export const string: Check = (value, path) => {
  if (typeof value !== 'string') fail(path, 'a string', value);
};
export const boolean: Check = (value, path) => {
  if (typeof value !== 'boolean') fail(path, 'true or false', value);
};
export const integer: Check = (value, path) => {
  if (isLargeInteger(value)) return;
  if (typeof value !== 'number' || !Number.isInteger(value)) fail(path, 'a whole number', value);
};
export const natural: Check = (value, path) => {
  integer(value, path);
  if ((value as number) < 0) throw new ShapeError(`${path} must not be negative, it is ${value}`);
};
export const nonEmpty: Check = (value, path) => {
  string(value, path);
  if (value === '') throw new ShapeError(`${path} must not be empty`);
};
export const absolutePath: Check = (value, path) => {
  nonEmpty(value, path);
  if (!(value as string).startsWith('/')) {
    throw new ShapeError(`${path} must be an absolute path, not ${JSON.stringify(value)}`);
  }
};

export const listOf =
  (check: Check, { min = 0 } = {}): Check =>
  (value, path) => {
    if (!Array.isArray(value)) fail(path, 'an array', value);
    if ((value as Json[]).length < min) throw new ShapeError(`${path} must not be empty`);
    (value as Json[]).forEach((entry, i) => {
      check(entry, `${path}[${i}]`);
    });
  };

export const mapOf =
  (check: Check): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'an object', value);
    for (const [key, entry] of Object.entries(value as JsonObject)) check(entry!, `${path}.${key}`);
  };

/**
 * Fields that are not listed are let through: the agent and crun know more of the specification. `null`
 * stands for absent, as in Go.
 */
export const object =
  (fields: Readonly<Record<string, Check>>, required: readonly string[] = []): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'an object', value);
    const given = value as JsonObject;
    const below = (key: string) => (path === '' ? key : `${path}.${key}`);
    for (const key of required) {
      if (given[key] === undefined || given[key] === null) throw new ShapeError(`${below(key)} is missing`);
    }
    for (const [key, check] of Object.entries(fields)) {
      const entry = given[key];
      if (entry !== undefined && entry !== null) check(entry, below(key));
    }
  };
