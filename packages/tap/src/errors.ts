/** What went wrong, as a closed list: callers match on it, never on the message. */
export type TapErrorCode =
  | 'usage'
  | 'not-a-capture'
  | 'not-found'
  | 'no-proxy'
  | 'refused'
  | 'no-payload'
  | 'output';

/** Every expected failure of coracle-tap. The message says what was tried, on what, why it failed and what to do. */
export class TapError extends Error {
  readonly code: TapErrorCode;

  constructor(code: TapErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TapError';
    this.code = code;
  }
}
