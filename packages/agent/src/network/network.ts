/**
 * The VM's network, as the host wants it (UpdateNetwork). All containers of the VM share it. What was set by an earlier request
 * and is not wanted any more is taken back; what containers have set themselves is left alone.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { hasCode, rtnetlink } from '@coracle/sys';
import { type NetworkInterface, RpcError, type UpdateNetworkRequest } from '@coracle/wire';
import { reasonOf } from '../log.ts';
import { checkNetwork } from './check-network.ts';
import { type LinksByMac, waitForLinks } from './wait-for-links.ts';

type Wanted = Omit<UpdateNetworkRequest, '$type'>;

const nothing: Wanted = { interfaces: [], routes: [], neighbours: [] };

export class Network {
  #applied = nothing;
  #last: Promise<void> = Promise.resolve();

  /**
   * One after the other, in the order in which they are called.
   * @throws RpcError invalid_argument, deadline_exceeded for an interface that does not come, failed_precondition
   */
  update(wanted: Wanted): Promise<void> {
    checkNetwork(wanted);
    const update = this.#last.then(() => this.#update(wanted));
    this.#last = update.catch(() => undefined);
    return update;
  }

  async #update(wanted: Wanted): Promise<void> {
    using socket = new rtnetlink.NetlinkSocket();
    const links = await waitForLinks(
      socket,
      wanted.interfaces.map(({ mac }) => mac),
    );
    const steps = new Steps(socket, links, wanted, this.#applied);
    // Whatever fails half-way is taken back by the next request all the same.
    this.#applied = union(this.#applied, wanted);
    steps.takeBack();
    steps.configure();
    this.#applied = wanted;
  }
}

const union = (one: Wanted, other: Wanted): Wanted => ({
  interfaces: [...one.interfaces, ...other.interfaces],
  routes: [...one.routes, ...other.routes],
  neighbours: [...one.neighbours, ...other.neighbours],
});

/** One request being carried out. */
class Steps {
  readonly #socket: rtnetlink.NetlinkSocket;
  readonly #links: LinksByMac;
  readonly #wanted: Wanted;
  readonly #before: Wanted;
  /** Of interfaces that are or were wanted, by the name that they have in the request. */
  readonly #indexes: ReadonlyMap<string, number>;

  constructor(socket: rtnetlink.NetlinkSocket, links: LinksByMac, wanted: Wanted, before: Wanted) {
    this.#socket = socket;
    this.#links = links;
    this.#wanted = wanted;
    this.#before = before;
    this.#indexes = new Map(
      [...before.interfaces, ...wanted.interfaces].flatMap(({ name, mac }) => {
        const link = links.get(mac);
        return link === undefined ? [] : [[name, link.index]];
      }),
    );
  }

  /** The last first: a gateway's route may need another route. */
  takeBack(): void {
    const { interfaces, routes, neighbours } = this.#before;
    for (const neighbour of gone(neighbours, this.#wanted.neighbours))
      this.#forget(() => rtnetlink.removeNeighbour(this.#socket, this.#neighbour(neighbour)));
    for (const route of gone(routes, this.#wanted.routes).toReversed())
      this.#forget(() => rtnetlink.removeRoute(this.#socket, this.#route(route)));
    for (const before of interfaces) {
      const link = this.#links.get(before.mac);
      const now = this.#wanted.interfaces.find(({ mac }) => mac === before.mac);
      if (link === undefined) continue;
      for (const address of gone(before.addresses, now?.addresses ?? []))
        this.#forget(() => rtnetlink.removeAddress(this.#socket, newAddress(link.index, address)));
      if (now === undefined)
        this.#forget(() => rtnetlink.changeLink(this.#socket, link.index, { up: false }));
    }
  }

  configure(): void {
    const { interfaces, routes, neighbours } = this.#wanted;
    for (const one of interfaces) this.#do(one.name, () => this.#name(one));
    for (const one of interfaces) this.#do(one.name, () => this.#interface(one));
    const up = new Set(interfaces.flatMap((one) => (one.up ? [one.name] : [])));
    for (const neighbour of neighbours)
      this.#do(neighbour.interface, () => rtnetlink.setNeighbour(this.#socket, this.#neighbour(neighbour)));
    // Those that need no gateway first: they say how gateways are reached.
    const direct = routes.filter(({ gateway }) => gateway === '');
    for (const route of [...direct, ...routes.filter(({ gateway }) => gateway !== '')])
      if (route.interface === '' || up.has(route.interface))
        this.#do(route.interface, () => rtnetlink.setRoute(this.#socket, this.#route(route)));
  }

  /** Kernels before 6.2 rename an interface only while it is down; a new one is. */
  #name({ mac, name }: NetworkInterface): void {
    const links = rtnetlink.listLinks(this.#socket);
    const own = links.find((link) => link.mac === mac && !link.loopback)!;
    if (own.name === name) return;
    const other = links.find((link) => link.name === name);
    if (other !== undefined) this.#rename(other.index, `was${other.index}`);
    this.#rename(own.index, name);
  }

  #rename(index: number, name: string): void {
    rtnetlink.changeLink(this.#socket, index, { up: false });
    rtnetlink.changeLink(this.#socket, index, { name });
  }

  #interface({ mac, name, mtu, up, addresses, disableIpv6 }: NetworkInterface): void {
    const { index } = this.#links.get(mac)!;
    const ipv6 = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
    // A kernel may have been built without.
    if (existsSync(ipv6)) writeFileSync(ipv6, disableIpv6 ? '1' : '0');
    rtnetlink.changeLink(this.#socket, index, { mtu });
    rtnetlink.changeLink(this.#socket, index, { up });
    const there = rtnetlink.listAddresses(this.#socket).filter((one) => one.index === index);
    for (const address of addresses) {
      const same = (one: rtnetlink.InterfaceAddress) =>
        one.address === address.address && one.prefixLength === address.prefixLength;
      if (!there.some(same)) rtnetlink.addAddress(this.#socket, newAddress(index, address));
    }
  }

  #neighbour({ interface: name, address, mac }: Wanted['neighbours'][number]): rtnetlink.Neighbour {
    return { index: this.#indexes.get(name) ?? 0, address, mac };
  }

  #route({ interface: name, gateway, source, mtu, ...rest }: Wanted['routes'][number]): rtnetlink.Route {
    return {
      ...rest,
      index: name === '' ? 0 : (this.#indexes.get(name) ?? 0),
      ...(gateway === '' ? {} : { gateway }),
      ...(source === '' ? {} : { source }),
      ...(mtu === 0 ? {} : { mtu }),
    };
  }

  #do(name: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      const what = `cannot configure ${name === '' ? 'the network' : `network interface ${name}`}: ${reasonOf(error)}`;
      throw new RpcError('failed_precondition', what);
    }
  }

  /** What is to go may be gone already: with its interface, or because a container took it away. */
  #forget(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!['ESRCH', 'ENOENT', 'ENODEV', 'EADDRNOTAVAIL', 'EINVAL'].some((code) => hasCode(error, code)))
        throw error;
    }
  }
}

function newAddress(index: number, address: NetworkInterface['addresses'][number]): rtnetlink.NewAddress {
  const { peer, broadcast, ...rest } = address;
  return { index, ...rest, ...(peer === '' ? {} : { peer }), ...(broadcast === '' ? {} : { broadcast }) };
}

/** What was there and is not any more. */
function gone<T>(before: readonly T[], now: readonly T[]): T[] {
  const kept = new Set(now.map((one) => JSON.stringify(one)));
  return before.filter((one) => !kept.has(JSON.stringify(one)));
}
