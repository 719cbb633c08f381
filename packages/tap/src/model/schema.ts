/** Control messages by a schema that is read at run time (protobufjs, reflection): captures of other versions, too. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { TapError } from '../errors.ts';
import { plain } from '../words/json.ts';
import type { ControlMessage } from './messages.ts';

export interface DecodedMessage {
  readonly kind: 'request' | 'response';
  readonly method: string;
  /** By the schema; undefined when it can't be read by it. */
  readonly message?: unknown;
  readonly error?: unknown;
  readonly problem?: string;
}

export interface Schema {
  decode(message: ControlMessage): DecodedMessage;
}

/** @throws TapError usage, not-found */
export async function loadSchema(folder: string | undefined): Promise<Schema> {
  if (folder === undefined) throw new TapError('usage', '--proto DIR is missing');
  const root = new protobuf.Root();
  // Imports are relative to the folder, as protoc has them.
  root.resolvePath = (_origin, target) => join(folder, target);
  try {
    const files = await readdir(folder, { recursive: true });
    await root.load(
      files.filter((name) => name.endsWith('.proto')),
      { keepCase: true },
    );
    root.resolveAll();
  } catch (cause) {
    throw new TapError('not-found', `cannot read the schema in ${folder}: ${(cause as Error).message}`, {
      cause,
    });
  }
  const methods = new Map<string, protobuf.Method>();
  visit(root, (service) => {
    for (const method of service.methodsArray) methods.set(method.name, method.resolve() as protobuf.Method);
  });
  if (methods.size === 0)
    throw new TapError(
      'not-found',
      `there is no service in ${folder}: give the folder that holds coracle/v1/agent.proto`,
    );
  return { decode: (message) => decodeBy(methods, message) };
}

function visit(namespace: protobuf.NamespaceBase, found: (service: protobuf.Service) => void): void {
  for (const nested of namespace.nestedArray) {
    if (nested instanceof protobuf.Service) found(nested);
    if (nested instanceof protobuf.Namespace) visit(nested, found);
  }
}

function decodeBy(methods: ReadonlyMap<string, protobuf.Method>, message: ControlMessage): DecodedMessage {
  const { kind, method } = message;
  if (message.kind === 'response' && message.error !== undefined)
    return { kind, method, error: message.error };
  const definition = methods.get(method);
  if (definition === undefined) {
    const problem = method === '' ? 'its request came before the capture' : 'the schema has no such method';
    return { kind, method, problem };
  }
  const type = kind === 'request' ? definition.resolvedRequestType : definition.resolvedResponseType;
  try {
    const decoded = (type as protobuf.Type).decode(message.payload);
    const object = (type as protobuf.Type).toObject(decoded, { longs: String, enums: String, bytes: Buffer });
    return { kind, method, message: plain(object) };
  } catch (error) {
    return { kind, method, problem: `it does not fit the schema: ${(error as Error).message}` };
  }
}
