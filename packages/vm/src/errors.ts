/**
 * What can go wrong with a virtual machine, as codes to match on. `remedy` says what to do about it,
 * in a sentence that can be shown to the user as it is.
 */
export type VmErrorCode =
  | 'qemu-missing'
  | 'virtiofsd-missing'
  | 'tool-missing'
  | 'image-missing'
  | 'image-invalid'
  | 'kvm-unusable'
  | 'vsock-unusable'
  | 'no-memory'
  | 'path-too-long'
  | 'bad-spec'
  | 'agent-missing'
  | 'already-started'
  | 'not-started'
  | 'start-failed'
  | 'boot-failed'
  | 'guest-busy'
  | 'qmp';

export interface VmErrorDetails {
  readonly remedy?: string | undefined;
  readonly cause?: unknown;
}

export class VmError extends Error {
  override readonly name: string = 'VmError';
  readonly code: VmErrorCode;
  readonly remedy: string | undefined;

  constructor(code: VmErrorCode, message: string, details: VmErrorDetails = {}) {
    const text = details.remedy === undefined ? message : `${message}\n${details.remedy}`;
    super(text, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.remedy = details.remedy;
  }
}

/** QMP answered a command with an error, or the connection failed. `errorClass` is QEMU's own word. */
export class QmpError extends VmError {
  override readonly name = 'QmpError';
  readonly command: string | undefined;
  readonly errorClass: string | undefined;

  constructor(
    message: string,
    details: VmErrorDetails & { command?: string | undefined; errorClass?: string | undefined } = {},
  ) {
    super('qmp', message, details);
    this.command = details.command;
    this.errorClass = details.errorClass;
  }
}
