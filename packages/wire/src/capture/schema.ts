/**
 * Which fields of control messages are not user data (docs/capture.md, "What is kept of a payload"): a list of what may
 * be kept, so that a field that is new, or forgotten here, is left out. Numbers are always kept.
 * `schema.test.ts` compares it with proto/.
 */

/** `secret` goes even from a capture that was asked for payloads. */
export type FieldRule = 'kept' | 'secret' | MessageRules;

/** By field number; strings and bytes that are not here are user data. */
export interface MessageRules {
  readonly [field: number]: FieldRule;
}

const processHandle: MessageRules = { 2: 'secret' };
const container: MessageRules = { 1: 'kept' };
const process: MessageRules = { 1: 'kept', 2: 'kept' };
const none: MessageRules = {};

/** By the method's name in Request.method. */
export const methodRules: Readonly<Record<string, { request: MessageRules; response: MessageRules }>> = {
  GetAgentDetails: {
    request: none,
    response: { 1: 'kept', 2: 'kept', 3: 'kept', 4: 'kept', 8: 'kept', 9: { 1: 'kept' }, 11: none },
  },
  CreateSandbox: { request: { 1: 'kept', 3: { 1: 'kept', 2: 'kept' }, 5: 'secret' }, response: none },
  CreateContainer: {
    request: { 1: 'kept', 3: 'kept', 5: { 2: 'kept' } },
    response: { 1: processHandle },
  },
  StartContainer: { request: container, response: none },
  ExecProcess: { request: process, response: { 1: processHandle } },
  SignalProcess: { request: process, response: none },
  WaitProcess: { request: process, response: { 1: none } },
  // Packed numbers.
  ListProcesses: { request: container, response: { 1: 'kept' } },
  StatsContainer: { request: container, response: none },
  UpdateContainer: { request: container, response: none },
  WaitOutOfMemory: { request: container, response: none },
  PauseContainer: { request: container, response: none },
  ResumeContainer: { request: container, response: none },
  RemoveContainer: { request: container, response: none },
  // Names of interfaces; addresses say who talks to whom.
  UpdateNetwork: { request: { 1: { 2: 'kept' }, 2: { 3: 'kept' }, 3: { 1: 'kept' } }, response: none },
  ForwardNames: { request: { 1: 'kept' }, response: { 1: processHandle } },
  SetClock: { request: none, response: none },
  // A capture in a capture would be what was left out of this one.
  ReadCapture: { request: { 1: 'kept', 2: 'kept' }, response: { 1: 'secret' } },
  DestroySandbox: { request: none, response: none },
};

/** Fields of Request and Response (proto/coracle/v1/link.proto). */
export const RequestField = { method: 1, payload: 2, idempotencyKey: 3 } as const;
export const ResponseField = { payload: 1, error: 2 } as const;
