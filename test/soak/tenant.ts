/**
 * The long-lived sandbox of one driver, and the container in it that execs go to. How a process ended is kept until
 * its container is removed, so the container is replaced now and then: what grows then all the same is a leak.
 */
import { randomUUID } from 'node:crypto';
import type { Container } from '@coracle/client';
import { type Place, SharedContainer } from '../contract/place.ts';
import { containerConfig } from '../support/config.ts';

const USES = 200;

export class Tenant implements AsyncDisposable {
  readonly shared: SharedContainer;
  #current: Promise<Lease>;

  private constructor(shared: SharedContainer) {
    this.shared = shared;
    this.#current = this.#make();
  }

  static async start(place: Place): Promise<Tenant> {
    const tenant = new Tenant(await SharedContainer.start(place));
    await tenant.#current;
    return tenant;
  }

  /** Another container in the same VM, not started. */
  async createContainer(args: readonly string[], options: { attach?: boolean } = {}): Promise<Container> {
    const { sandbox, place } = this.shared;
    return await sandbox.createContainer({
      id: randomUUID(),
      config: containerConfig(args),
      // As `coracle` names its share; without a VM a path is the host's.
      rootfs: { share: 'containers', path: place.driver === 'local' ? place.rootfs : 'rootfs' },
      ...options,
    });
  }

  /** Uses the container; it is not removed while it is in use. */
  async use<T>(work: (container: Container) => Promise<T>): Promise<T> {
    const lease = await this.#current;
    // It was waited for together with others, and one of them has replaced it meanwhile.
    if (lease.replaced) return await this.use(work);
    if (lease.left <= 0) {
      // What still runs there ends on its own.
      this.#current = this.#make();
      lease.replaced = true;
      if (lease.users === 0) await lease.container.remove({ force: true });
      return await this.use(work);
    }
    lease.left--;
    lease.users++;
    try {
      return await work(lease.container);
    } finally {
      lease.users--;
      if (lease.replaced && lease.users === 0) await lease.container.remove({ force: true });
    }
  }

  /** Puts a fresh container in the place of the used one, and waits until that is gone. Nobody may be using it. */
  async refresh(): Promise<void> {
    const lease = await this.#current;
    await lease.container.remove({ force: true });
    this.#current = this.#make();
    await this.#current;
  }

  async #make(): Promise<Lease> {
    const container = await this.createContainer(['sleep', '1000000'], { attach: false });
    await container.start();
    return { container, left: USES, users: 0, replaced: false };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shared[Symbol.asyncDispose]();
  }
}

interface Lease {
  readonly container: Container;
  left: number;
  users: number;
  replaced: boolean;
}
