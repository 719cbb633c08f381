/** The canonical RPC codes, as in google.rpc.Code and gRPC. */
export const Code = {
  cancelled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const;

export type CodeName = keyof typeof Code;

const names = new Map<number, CodeName>(Object.entries(Code).map(([name, code]) => [code, name as CodeName]));

/** The name of a code; a number that is none becomes `unknown`, since it comes from a peer. */
export function codeName(code: number): CodeName {
  return names.get(code) ?? 'unknown';
}

/**
 * Every error of the link and of requests. Match on `code` and not on the class: two copies of this
 * package can be loaded at once.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: CodeName;
  /** The message without the code in front. */
  readonly reason: string;
  constructor(code: CodeName, message: string, options?: { cause?: unknown }) {
    super(`${message} [${code}]`, options);
    this.code = code;
    this.reason = message;
  }
  get number(): number {
    return Code[this.code];
  }
}

/** A peer broke the rules of docs/protocol.md: its connection ends, nothing else does. */
export function violation(message: string): RpcError {
  return new RpcError('invalid_argument', `protocol violation: ${message}`);
}

export function isRpcError(error: unknown): error is RpcError {
  return error instanceof Error && error.name === 'RpcError' && 'code' in error;
}

/** Whatever was thrown, as an RpcError. */
export function asRpcError(error: unknown, code: CodeName = 'internal'): RpcError {
  if (isRpcError(error)) return error;
  if (error instanceof Error && error.name === 'AbortError') {
    return new RpcError('cancelled', error.message, { cause: error });
  }
  return new RpcError(code, error instanceof Error ? error.message : String(error), { cause: error });
}
