/**
 * The text of a Wireshark dissector in one file: the tables of packages/wire and the messages of proto/, and what is made of
 * them (body.lua). Never part of the built program.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  agentMethods,
  CaptureEvent,
  Cause,
  CONTROL_RECORD_BYTES,
  Code,
  ControlRecordKind,
  Direction,
  FrameType,
  HEADER_BYTES,
  MORE,
  PSEUDO_HEADER_BYTES,
  payloadRange,
  RECORD_VERSION,
  RecordFlag,
  RecordKind,
  StreamKind,
} from '@coracle/wire';
import protobuf from 'protobufjs';
import { isOfProcess, isOfStream } from '../model/names.ts';

const root = join(import.meta.dirname, '../../../..');
const folder = import.meta.dirname;

/** Who may send each type, by direction; the others are requests of the proxy's own clients (docs/protocol.md, section 2). */
const sentBy: Readonly<Record<keyof typeof FrameType, readonly (keyof typeof Direction)[]>> = {
  DATA: ['toAgent', 'toClient'],
  EOF: ['toAgent', 'toClient'],
  WINDOW: ['toAgent', 'toClient'],
  STOP: ['toAgent', 'toClient'],
  ATTACH: ['toAgent'],
  ATTACHED: ['toClient'],
  REFUSED: ['toClient'],
  EXIT: ['toClient'],
  DETACHED: ['toClient'],
  REQUEST: ['toAgent'],
  RESPONSE: ['toClient'],
  CANCEL: ['toAgent'],
  BIND: ['toAgent'],
  BOUND: ['toClient'],
  GOAWAY: ['toAgent', 'toClient'],
};

type Lua = string | number | boolean | { readonly [key: string]: Lua } | LuaList;
type LuaList = readonly (readonly [number, Lua])[];

function lua(value: Lua, indent = ''): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value !== 'object') return String(value);
  const deeper = `${indent}  `;
  const entries = isList(value)
    ? value.map(([key, one]) => `[${key}] = ${lua(one, deeper)}`)
    : Object.entries(value).map(([key, one]) => `${key} = ${lua(one, deeper)}`);
  const short = `{ ${entries.join(', ')} }`;
  if (short.length < 100 && !short.includes('\n')) return short;
  return `{\n${entries.map((entry) => `${deeper}${entry},\n`).join('')}${indent}}`;
}

function isList(value: object): value is LuaList {
  return Array.isArray(value);
}

/** Names by number. */
function names(table: Readonly<Record<string, number>>, rename = (name: string) => name): LuaList {
  return Object.entries(table).map(([name, number]) => [number, rename(name)]);
}

function set(numbers: readonly number[]): LuaList {
  return numbers.map((number) => [number, true]);
}

const types = Object.values(FrameType);

function schema(): protobuf.Root {
  const loaded = new protobuf.Root();
  loaded.resolvePath = (_origin, target) => join(root, 'proto', target);
  // Not load: that adds them in the order in which they happen to be read.
  loaded.loadSync(['coracle/v1/agent.proto', 'coracle/v1/link.proto'], { keepCase: true });
  loaded.resolveAll();
  return loaded;
}

function messagesOf(namespace: protobuf.NamespaceBase): protobuf.Type[] {
  return namespace.nestedArray.flatMap((nested) => [
    ...(nested instanceof protobuf.Type ? [nested] : []),
    ...(nested instanceof protobuf.Namespace ? messagesOf(nested) : []),
  ]);
}

const scalars: Readonly<Record<string, string>> = {
  string: 'string',
  bytes: 'bytes',
  bool: 'bool',
  double: 'double',
};

function member(field: protobuf.Field): Lua {
  const { name, resolvedType } = field;
  if (field.map) return { name, kind: 'map' };
  if (resolvedType instanceof protobuf.Type) return { name, kind: 'message', message: resolvedType.name };
  // Of many numbers in one field nothing is made.
  if (field.repeated && field.type !== 'string' && field.type !== 'bytes') return { name, kind: 'packed' };
  return { name, kind: scalars[field.type] ?? 'number' };
}

function fieldNumbers(message: protobuf.Type): Lua {
  return Object.fromEntries(message.fieldsArray.map(({ name, id }) => [name, id]));
}

function tables(): [string, Lua][] {
  const loaded = schema();
  const type = (name: string): protobuf.Type => loaded.lookupType(name);
  const methods = Object.values(agentMethods).map(({ name }): [string, Lua] => {
    const method = loaded.lookupService('AgentService').methods[name] as protobuf.Method;
    const [request, response] = [
      method.resolvedRequestType as protobuf.Type,
      method.resolvedResponseType as protobuf.Type,
    ];
    const { container_id, exec_id } = request.fields;
    const { process } = response.fields;
    const isHandle = process?.resolvedType?.name === 'ProcessHandle';
    return [
      name,
      {
        request: request.name,
        response: response.name,
        ...(container_id ? { container_id: container_id.id } : {}),
        ...(exec_id ? { exec_id: exec_id.id } : {}),
        ...(isHandle && process ? { process: process.id } : {}),
      },
    ];
  });
  return [
    ['RECORD_VERSION', RECORD_VERSION],
    ['PSEUDO_HEADER_BYTES', PSEUDO_HEADER_BYTES],
    ['HEADER_BYTES', HEADER_BYTES],
    ['CONTROL_RECORD_BYTES', CONTROL_RECORD_BYTES],
    ['MORE', MORE],
    ['T', FrameType],
    ['kind', RecordKind],
    ['flag', RecordFlag],
    ['control', ControlRecordKind],
    [
      'names',
      {
        kind: names(RecordKind),
        direction: names(
          Direction,
          (name) => ({ none: 'none', toAgent: 'client to agent', toClient: 'agent to client' })[name] ?? name,
        ),
        type: names(FrameType),
        stream: names(StreamKind),
        code: names(Code),
        cause: names(Cause),
        event: names(CaptureEvent),
      },
    ],
    [
      'payload_range',
      types.map(
        (one) =>
          [
            one,
            [
              [1, payloadRange[one]?.[0] ?? 0],
              [2, payloadRange[one]?.[1] ?? 0],
            ],
          ] as const,
      ),
    ],
    ['of_stream', set(types.filter(isOfStream))],
    ['of_process', set(types.filter(isOfProcess))],
    [
      'sent_by',
      Object.entries(sentBy).map(
        ([name, directions]) =>
          [FrameType[name as keyof typeof FrameType], set(directions.map((one) => Direction[one]))] as const,
      ),
    ],
    ['request_field', fieldNumbers(type('Request'))],
    ['response_field', fieldNumbers(type('Response'))],
    ['error_field', fieldNumbers(type('Error'))],
    ['handle_field', fieldNumbers(type('ProcessHandle'))],
    ['methods', Object.fromEntries(methods)],
    [
      'messages',
      Object.fromEntries(
        messagesOf(loaded).map((message) => [
          message.name,
          message.fieldsArray.map((field) => [field.id, member(field)] as const),
        ]),
      ),
    ],
  ];
}

const head = `-- A Wireshark dissector for captures of Coracle (docs/capture.md), made by packages/tap/src/wireshark/dissector.ts.
`;

export function dissector(): string {
  const generated = tables().map(([name, value]) => `local ${name} = ${lua(value)}\n`);
  return `${head}\n${generated.join('')}\n${readFileSync(join(folder, 'body.lua'), 'utf8')}`;
}
