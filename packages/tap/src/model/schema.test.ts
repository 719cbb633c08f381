/** What may be kept of control messages is a list in packages/wire; here it is held against proto/. */
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { expect, it } from 'vitest';
import { type MessageRules, methodRules } from '../../../wire/src/capture/schema.ts';

const root = new protobuf.Root();
const proto = fileURLToPath(new URL('../../../../proto', import.meta.url));
root.resolvePath = (_origin, target) => `${proto}/${target}`;
root.loadSync('coracle/v1/agent.proto', { keepCase: true });
root.resolveAll();
const service = root.lookupService('coracle.v1.AgentService');

/** Strings and bytes by path, with what becomes of them. */
function textFields(type: protobuf.Type, rules: MessageRules | undefined, prefix = ''): string[] {
  return type.fieldsArray.flatMap((field) => {
    const rule = rules?.[field.id];
    const path = `${prefix}${field.name}`;
    if (field.resolvedType instanceof protobuf.Type)
      return textFields(field.resolvedType, typeof rule === 'object' ? rule : undefined, `${path}.`);
    if (field.type !== 'string' && field.type !== 'bytes') return [];
    return [`${path}: ${typeof rule === 'string' ? rule : 'left out'}`];
  });
}

it('every method is in the list', () => {
  expect(Object.keys(methodRules).sort()).toEqual(service.methodsArray.map(({ name }) => name).sort());
});

it('what is kept is what this test says, and nothing else', () => {
  const fields = service.methodsArray.flatMap((method) => {
    method.resolve();
    const rules = methodRules[method.name];
    return [
      ...textFields(method.resolvedRequestType as protobuf.Type, rules?.request, `${method.name} `),
      ...textFields(method.resolvedResponseType as protobuf.Type, rules?.response, `${method.name} → `),
    ];
  });
  const is = (what: string): string[] =>
    fields.filter((field) => field.endsWith(`: ${what}`)).map((field) => field.slice(0, -what.length - 2));
  expect(is('secret')).toEqual([
    'CreateSandbox entropy',
    'CreateContainer → process.token',
    'ExecProcess → process.token',
    'ForwardNames → process.token',
    'ReadCapture → pcapng',
  ]);
  expect(is('left out')).toEqual([
    'CreateSandbox hostname',
    'CreateSandbox shares.source',
    'CreateContainer config',
    'CreateContainer rootfs_path',
    'CreateContainer bind_sources.path',
    'ExecProcess process',
    'WaitProcess → exit.message',
    'UpdateContainer resources',
    'UpdateNetwork interfaces.mac',
    'UpdateNetwork interfaces.addresses.address',
    'UpdateNetwork interfaces.addresses.peer',
    'UpdateNetwork interfaces.addresses.broadcast',
    'UpdateNetwork routes.destination',
    'UpdateNetwork routes.gateway',
    'UpdateNetwork routes.source',
    'UpdateNetwork neighbours.address',
    'UpdateNetwork neighbours.mac',
  ]);
});
