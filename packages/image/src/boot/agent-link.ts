/** The link to a booting guest's agent, dialled without a proxy: one connection, one kind of request. */
import { connect } from 'node:net';
import { Connection, FrameType, type GetAgentDetailsResponse, Requests, Role, RpcError } from '@coracle/wire';

export class AgentLink {
  readonly #connection: Connection;
  readonly #requests = new Requests();
  readonly #open = Promise.withResolvers<void>();

  /** Waits in the port until the guest has booted. */
  constructor(path: string) {
    this.#open.promise.catch(() => undefined);
    this.#connection = new Connection(
      connect(path),
      // As the proxy does: the port may hold what another host has left.
      { role: Role.proxy, opener: true, flush: true },
      {
        open: () => {
          this.#requests.attach(this.#connection);
          this.#open.resolve();
        },
        frame: (frame) => {
          if (frame.type === FrameType.RESPONSE) this.#requests.handle(frame);
        },
        closed: (reason) => {
          this.#open.reject(reason);
          this.#requests.close(reason);
        },
      },
    );
  }

  /** Resolves at the agent's hello, the answer to our preamble. */
  hello(): Promise<void> {
    return this.#open.promise;
  }

  details(signal: AbortSignal): Promise<GetAgentDetailsResponse> {
    return this.#requests.call('getAgentDetails', {}, { signal });
  }

  [Symbol.dispose](): void {
    this.#connection.close(new RpcError('cancelled', 'the profile is taken'));
  }
}
