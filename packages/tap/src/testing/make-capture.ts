/** Captures for unit tests, made by the same code that the proxy uses. */
import {
  Capture,
  type CaptureContent,
  Direction,
  encodeAttach,
  encodeAttached,
  encodeExit,
  encodeFrame,
  encodeMessage,
  encodeWindow,
  FrameType,
  Request,
  Response,
  type SandboxCapture,
} from '@coracle/wire';

export function makeCapture(
  content: CaptureContent,
  use: (capture: (sandbox: string) => CaptureBuilder) => void,
): Buffer {
  const chunks: Buffer[] = [];
  const capture = new Capture({
    content,
    application: 'test',
    place: 'in a test',
    maxQueuedBytes: Number.MAX_SAFE_INTEGER,
    write: (bytes, taken) => {
      chunks.push(Buffer.from(bytes));
      taken();
    },
  });
  use((sandbox) => new CaptureBuilder(capture.sandbox(sandbox)));
  capture.close();
  return Buffer.concat(chunks);
}

const CREDIT = { delivered: 0, limit: 1024 };

/** Client 1 and process 1 of a sandbox. */
export class CaptureBuilder {
  readonly box: SandboxCapture;
  constructor(box: SandboxCapture) {
    this.box = box;
  }

  bound(connection = 1): this {
    this.box.event('link_open');
    this.box.event('client_bound', connection, { value: 4711, text: 'coracle-shim' });
    return this;
  }

  ask(id: number, method: string, payload: Uint8Array = Buffer.alloc(0), connection = 1): this {
    const message = Request.encode(
      Request.fromPartial({ method, payload, idempotencyKey: `key-${id}` }),
    ).finish();
    for (const part of encodeMessage(FrameType.REQUEST, id, message))
      this.box.frame(Direction.toAgent, connection, part);
    return this;
  }

  answer(id: number, fields: Parameters<typeof Response.fromPartial>[0], connection = 1): this {
    const message = Response.encode(Response.fromPartial(fields)).finish();
    for (const part of encodeMessage(FrameType.RESPONSE, id, message))
      this.box.frame(Direction.toClient, connection, part);
    return this;
  }

  attach(generation = 1, connection = 1): this {
    const payload = encodeAttach({ token: Buffer.alloc(16, 7), stdout: CREDIT, stderr: CREDIT });
    const attached = encodeAttached({ stdin: CREDIT, control: CREDIT, stdoutStart: 0, stderrStart: 0 });
    const fields = { id: 4, generation };
    this.box.frame(
      Direction.toAgent,
      connection,
      encodeFrame({ type: FrameType.ATTACH, ...fields, payload }),
    );
    this.box.frame(
      Direction.toClient,
      connection,
      encodeFrame({ type: FrameType.ATTACHED, ...fields, payload: attached }),
    );
    return this;
  }

  data(id: number, offset: number, payload: string, generation = 1): this {
    const frame = encodeFrame({
      type: FrameType.DATA,
      id,
      generation,
      offset,
      payload: Buffer.from(payload),
    });
    this.box.frame(id % 4 < 2 ? Direction.toAgent : Direction.toClient, 1, frame);
    return this;
  }

  window(id: number, delivered: number, limit: number, generation = 1): this {
    const frame = encodeFrame({
      type: FrameType.WINDOW,
      id,
      generation,
      offset: delivered,
      payload: encodeWindow(limit),
    });
    this.box.frame(id % 4 < 2 ? Direction.toClient : Direction.toAgent, 1, frame);
    return this;
  }

  exit(stdoutFinal: number, generation = 1): this {
    const payload = encodeExit({ cause: 'exited', waitStatus: 0, stdoutFinal, stderrFinal: 0, message: '' });
    this.box.frame(Direction.toClient, 1, encodeFrame({ type: FrameType.EXIT, id: 4, generation, payload }));
    return this;
  }
}
