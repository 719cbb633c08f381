/** The library's entrance. */
import { dirname, join } from 'node:path';
import type { Abortable } from './abort.ts';
import { type CaptureTo, ClientCapture } from './capture.ts';
import { Sandbox } from './sandbox.ts';
import { Session, type SessionOptions } from './session.ts';
import { checkSandboxId, type StartSandboxOptions, startSandbox } from './start-sandbox.ts';

export interface CoracleOptions {
  /** The unix socket of the proxy: a daemon's, or one that a ProxyServer in this program listens on. */
  readonly proxy: string;
  /** The folder in which the proxy finds its sandboxes; `sandboxes` beside the socket by default. */
  readonly sandboxes?: string;
  /** Called when nobody listens on the socket, also later when the proxy has died; see `ensureProxy`. */
  readonly startProxy?: () => Promise<void>;
  /** Records the frames of all sandboxes as this program sends and receives them (docs/capture.md, "At the library"). */
  readonly capture?: CaptureTo;
}

export class Coracle {
  readonly #sandboxes: string;
  readonly #session: SessionOptions;
  readonly #capture: ClientCapture | undefined;

  constructor({ proxy, sandboxes, startProxy, capture }: CoracleOptions) {
    this.#sandboxes = sandboxes ?? join(dirname(proxy), 'sandboxes');
    this.#capture = capture && new ClientCapture(capture);
    this.#session = { socketPath: proxy, startProxy, capture: this.#capture };
  }

  /**
   * Starts a VM and waits for its agent. Failing or given up, nothing of it stays.
   * @throws RpcError cancelled, already_exists, unavailable when there is no proxy or the VM ends while it
   * boots; and what the driver throws
   */
  async startSandbox(options: StartSandboxOptions): Promise<Sandbox> {
    return await startSandbox(this.#sandboxes, this.#session, options);
  }

  /**
   * Connects to a sandbox that runs; one that still boots makes this take longer.
   * @throws RpcError not_found, unavailable when its VM is gone or there is no proxy, permission_denied,
   * invalid_argument for an id that can be none, cancelled
   */
  async connect(sandboxId: string, { signal }: Abortable = {}): Promise<Sandbox> {
    checkSandboxId(sandboxId);
    const session = new Session(sandboxId, this.#session);
    await session.bind(signal);
    return new Sandbox(session);
  }

  /** Ends the capture, and the stream that it is written to; what goes on is not recorded any more. */
  async endCapture(): Promise<void> {
    await this.#capture?.end();
  }
}
