/**
 * The name server of the container's network namespace on the host, in the guest. Docker's listens there on the loopback, which
 * the guest has not. Its queries leave by the stdout of a process that is none, and the answers come by its stdin, so that
 * whatever holds of a process's bytes holds of them (docs/networking.md, "Docker's name server").
 *
 *   container ──► 127.0.0.11:53 ═══ alias ═══► Listeners ──► Queries ──► stdout ──► host
 */
import { mkdirSync } from 'node:fs';
import { isIPv4, type Socket } from 'node:net';
import { close, openStream, PortAlias } from '@coracle/sys';
import { RpcError } from '@coracle/wire';
import { invalid } from '../check.ts';
import { CGROUPS } from '../container.ts';
import { NAME_LIMITS } from '../limits.ts';
import { log, reasonOf } from '../log.ts';
import type { Process } from '../process.ts';
import type { ProcessTable } from '../processes.ts';
import { openPipes } from '../stdio.ts';
import { Listeners } from './listeners.ts';
import { Queries } from './queries.ts';
import { encodeRecord, RecordDecoder } from './records.ts';

const DNS_PORT = 53;

export class NameServer {
  readonly #processes: ProcessTable;
  #last: Promise<unknown> = Promise.resolve();
  #current: DisposableStack | undefined;

  constructor(processes: ProcessTable) {
    this.#processes = processes;
  }

  /** One after the other. @throws RpcError */
  forward(address: string): Promise<Process> {
    if (!isIPv4(address) || !address.startsWith('127.'))
      throw invalid('address', 'must be one of the loopback, such as 127.0.0.11');
    const forwarding = this.#last.then(() => this.#forward(address));
    this.#last = forwarding.catch(() => undefined);
    return forwarding;
  }

  async #forward(address: string): Promise<Process> {
    this.#current?.dispose();
    this.#current = undefined;
    using stack = new DisposableStack();
    const process = this.#processes.make({
      name: `name server ${address}`,
      terminal: false,
      stdin: true,
      outOfMemory: () => false,
    });
    using _slot = this.#processes.reserve();
    const { child, ends } = openPipes({ stdin: true });
    process.connect(ends);
    stack.defer(() => this.#processes.remove(process));
    close(child[2]!);
    const fromHost = stack.adopt(openStream(child[0]!), (stream) => stream.destroy());
    const toHost = stack.adopt(openStream(child[1]!), (stream) => stream.destroy());
    const queries = stack.adopt(queriesOver(fromHost, toHost), (all) => all.dispose());
    try {
      const listeners = stack.use(
        await Listeners.open(address, (kind, message, done) => queries.ask(kind, message, done)),
      );
      mkdirSync(CGROUPS, { recursive: true });
      stack.use(new PortAlias(CGROUPS, { address, port: DNS_PORT, target: listeners.port }));
    } catch (error) {
      throw new RpcError('failed_precondition', `cannot listen at ${address}: ${reasonOf(error)}`);
    }
    this.#processes.publish(process);
    this.#current = stack.move();
    return process;
  }
}

/** @param fromHost takes answers, @param toHost gives queries */
export function queriesOver(fromHost: Socket, toHost: Socket): Queries {
  const queries = new Queries((record) => {
    if (toHost.writableLength >= NAME_LIMITS.maxQueuedBytes || !toHost.writable) return false;
    toHost.write(encodeRecord(record));
    return true;
  });
  const decoder = new RecordDecoder();
  fromHost.on('data', (bytes) => {
    try {
      for (const record of decoder.push(bytes)) queries.answer(record);
    } catch (error) {
      log('error', 'the name server on the host breaks the rules', { reason: reasonOf(error) });
      fromHost.destroy();
    }
  });
  // The host's end may go away: queries are dropped then, until there is another.
  for (const stream of [fromHost, toHost]) stream.on('error', () => stream.destroy());
  return queries;
}
