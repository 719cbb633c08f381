/**
 * Network interfaces of a VM that runs: a tap whose descriptor QEMU is given, and a virtio-net device in a free slot in front
 * of it. What there is, is asked of QEMU itself: nothing is written down that could be wrong after a crash.
 */
import { inSlot, SLOTS, sharePrefix } from './command.ts';
import { QmpError, VmError } from './errors.ts';
import type { Qmp, QmpEvent } from './qmp.ts';

export interface NicSpec {
  /** Unique in this VM: letters, digits and `-`. */
  readonly id: string;
  /** `02:42:ac:11:00:02`, by which the guest knows it. */
  readonly mac: string;
  /** The tap's descriptor, with IFF_VNET_HDR. QEMU gets a copy, and the tap is gone when both are closed. */
  readonly tap: number;
}

export interface Nic {
  readonly id: string;
  readonly mac: string;
}

const prefix = 'nic-';
const deviceId = (id: string): string => `${prefix}${id}`;
const backendId = (id: string): string => `net-${id}`;
/** QEMU's tree of what was given an id (docs/devel/qom.rst). */
const PERIPHERAL = '/machine/peripheral';

/** A guest lets go of a device in some ms; emulated on a busy host it takes a while. */
const UNPLUG_TIMEOUT_MS = 30_000;

export class Nics implements Disposable {
  readonly #qmp: Qmp;

  /** Made by `Vm.nics`. */
  constructor(qmp: Qmp) {
    this.#qmp = qmp;
  }

  async list(): Promise<Nic[]> {
    const ids = (await this.#devices()).filter((name) => name.startsWith(prefix));
    return await Promise.all(
      ids.map(async (name) => ({
        id: name.slice(prefix.length),
        mac: String(await this.#property(name, 'mac')).toLowerCase(),
      })),
    );
  }

  /**
   * The guest notices by itself, or when it looks for new devices.
   * @throws VmError `bad-spec` when all slots are taken, QmpError
   */
  async plug({ id, mac, tap }: NicSpec): Promise<void> {
    const slot = await this.#freeSlot();
    await this.#removeBackend(id);
    const name = backendId(id);
    await this.#qmp.giveDescriptor(name, tap);
    try {
      await this.#qmp.execute('netdev_add', { type: 'tap', id: name, fd: name });
    } catch (error) {
      await this.#qmp.execute('closefd', { fdname: name }).catch(() => undefined);
      throw error;
    }
    try {
      await this.#qmp.execute('device_add', {
        driver: 'virtio-net-pci',
        id: deviceId(id),
        netdev: name,
        mac,
        ...inSlot(slot),
        'disable-legacy': 'on',
        // No firmware boots from it.
        romfile: '',
      });
    } catch (error) {
      await this.#removeBackend(id);
      throw error;
    }
  }

  /**
   * Resolves when the guest has let go of it and the tap is closed. Idempotent, and right after a half-done `plug` too.
   * @throws VmError `guest-busy` when the guest does not answer within half a minute, QmpError
   */
  async unplug(id: string): Promise<void> {
    if ((await this.#devices()).includes(deviceId(id))) await this.#removeDevice(deviceId(id));
    await this.#removeBackend(id);
  }

  async #removeDevice(device: string): Promise<void> {
    const gone = Promise.withResolvers<void>();
    const onEvent = ({ event, data }: QmpEvent) => {
      if (event === 'DEVICE_DELETED' && data?.device === device) gone.resolve();
    };
    const onClose = () => gone.reject(new QmpError(`QMP ${this.#qmp.path}: QEMU ended`));
    const late = setTimeout(() => {
      const what = `the guest did not let go of the network interface ${device} within ${UNPLUG_TIMEOUT_MS / 1000} s`;
      gone.reject(new VmError('guest-busy', what, { remedy: 'Is the VM paused? Resume it, and try again.' }));
    }, UNPLUG_TIMEOUT_MS);
    gone.promise.catch(() => undefined);
    this.#qmp.on('event', onEvent);
    this.#qmp.on('close', onClose);
    try {
      await this.#qmp.execute('device_del', { id: device }).catch(async (error: unknown) => {
        // Asked for before, by somebody who was killed: it may be gone by now, or is waited for.
        if (!(await this.#devices()).includes(device)) return gone.resolve();
        if (!(error as Error).message.includes('in the process of unplug')) throw error;
      });
      await gone.promise;
    } finally {
      clearTimeout(late);
      this.#qmp.off('event', onEvent);
      this.#qmp.off('close', onClose);
    }
  }

  /** Closes the tap. There may be none. */
  async #removeBackend(id: string): Promise<void> {
    await this.#qmp.execute('netdev_del', { id: backendId(id) }).catch((error: QmpError) => {
      if (error.errorClass !== 'DeviceNotFound' && !error.message.includes('not found')) throw error;
    });
  }

  async #freeSlot(): Promise<number> {
    const devices = (await this.#devices()).filter(
      (name) => name.startsWith(prefix) || name.startsWith(sharePrefix),
    );
    // Slot and function, as the number that PCI makes of them.
    const functions = await Promise.all(
      devices.map(async (name) => Number(await this.#property(name, 'addr'))),
    );
    const taken = functions.map((number) => number >> 3);
    for (let slot = 0; slot < SLOTS; slot++) if (!taken.includes(Number(inSlot(slot).addr))) return slot;
    throw new VmError('bad-spec', `all ${SLOTS} slots of this VM for shares and networks are taken`, {
      remedy: 'Connect the container to fewer networks.',
    });
  }

  async #devices(): Promise<string[]> {
    const children = (await this.#qmp.execute('qom-list', { path: PERIPHERAL })) as {
      name: string;
      type: string;
    }[];
    return children.filter(({ type }) => type.startsWith('child<')).map(({ name }) => name);
  }

  #property(device: string, property: string): Promise<unknown> {
    return this.#qmp.execute('qom-get', { path: `${PERIPHERAL}/${device}`, property });
  }

  [Symbol.dispose](): void {
    this.#qmp.close();
  }
}
