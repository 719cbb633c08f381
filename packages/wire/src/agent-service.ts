/** The methods of AgentService (proto/coracle/v1/agent.proto) with their message types. */
import { AgentServiceDefinition } from './gen/coracle/v1/agent.ts';

export const agentMethods = AgentServiceDefinition.methods;
export type AgentMethod = keyof typeof agentMethods;

interface Codec<T> {
  decode(bytes: Uint8Array): T;
  fromPartial(object: object): T;
}
type MessageOf<C> = C extends Codec<infer T> ? T : never;

export type AgentRequest<M extends AgentMethod> = MessageOf<(typeof agentMethods)[M]['requestType']>;
export type AgentResponse<M extends AgentMethod> = MessageOf<(typeof agentMethods)[M]['responseType']>;

/** One handler per method. `signal` aborts when nobody waits any more; a method that changes something ignores it. */
export type AgentHandlers = {
  readonly [M in AgentMethod]: (
    request: AgentRequest<M>,
    context: { readonly signal: AbortSignal },
  ) => Promise<AgentResponse<M>>;
};
