/** What went wrong, as a closed list: callers match on it, never on the message. */
export type ImageErrorCode =
  | 'usage'
  | 'recipe-invalid'
  | 'lock-invalid'
  | 'package-unavailable'
  | 'package-unpinned'
  | 'digest-mismatch'
  | 'input-missing'
  | 'output-refused'
  | 'image-invalid'
  | 'boot-failed'
  | 'tool-missing'
  | 'tool-failed'
  | 'interrupted';

/** Every expected failure of the image builder. The message says what was tried, on what, why it failed and what to do. */
export class ImageError extends Error {
  readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ImageError';
    this.code = code;
  }
}
