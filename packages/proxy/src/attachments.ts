/**
 * Who owns which process. An ATTACH waits until the agent has answered it: only the agent knows whether its token is
 * right, so until then the former owner loses nothing. Frames of an attachment carry its generation, both ways.
 *
 *   ATTACH ──► pending ──ATTACHED──► owner ──ATTACHED of another, REFUSED──► gone
 *                 └──────REFUSED──► gone
 */
import { Code, encodeFailure, encodeFrame, type Frame, FrameType } from '@coracle/wire';
import { MAX_ATTACHMENTS } from './limits.ts';
import type { LinkClient } from './link-client.ts';

interface Attachment {
  readonly client: LinkClient;
  readonly processId: number;
  readonly generation: number;
  /** EXIT has passed: this one may make room for another. */
  exited: boolean;
}

/** Of one process. */
interface Route {
  owner: Attachment | undefined;
  readonly pending: Attachment[];
}

export class Attachments {
  readonly #routes = new Map<number, Route>();
  /** In the order in which they were asked for. */
  readonly #byClient = new Map<LinkClient, Set<Attachment>>();

  /** An ATTACH of this client is about to go to the agent. @returns false when it was refused instead */
  begin(client: LinkClient, frame: Frame): boolean {
    const { id: processId, generation } = frame;
    const held = this.#byClient.get(client) ?? new Set();
    this.#byClient.set(client, held);
    if (held.size >= MAX_ATTACHMENTS && !this.#makeRoom(held)) {
      refuse(
        client,
        processId,
        generation,
        `this client is attached to ${MAX_ATTACHMENTS} processes already`,
      );
      return false;
    }
    const attachment = { client, processId, generation, exited: false };
    held.add(attachment);
    const route = this.#routes.get(processId);
    if (route) route.pending.push(attachment);
    else this.#routes.set(processId, { owner: undefined, pending: [attachment] });
    return true;
  }

  /** May this client send a frame with this generation for the process? */
  allows(client: LinkClient, processId: number, generation: number): boolean {
    const route = this.#routes.get(processId);
    if (route === undefined) return false;
    const is = (a: Attachment): boolean => a.client === client && a.generation === generation;
    return (route.owner !== undefined && is(route.owner)) || route.pending.some(is);
  }

  /** Whose a frame of the agent is; undefined for one that was sent before its client went away. */
  receiver(frame: Frame, processId: number): LinkClient | undefined {
    const route = this.#routes.get(processId);
    if (route === undefined) return undefined;
    if (frame.type === FrameType.ATTACHED) return this.#attached(route, frame.generation);
    const { owner } = route;
    if (owner?.generation === frame.generation) {
      if (frame.type === FrameType.EXIT) owner.exited = true;
      else if (frame.type === FrameType.REFUSED) this.#end(owner);
      return owner.client;
    }
    if (frame.type !== FrameType.REFUSED) return undefined;
    const pending = route.pending.find(({ generation }) => generation === frame.generation);
    if (pending) this.#end(pending);
    return pending?.client;
  }

  /** Who owns a process, and whether its EXIT has passed. */
  owner(processId: number): { readonly client: LinkClient; readonly exited: boolean } | undefined {
    return this.#routes.get(processId)?.owner;
  }

  removeClient(client: LinkClient): void {
    for (const attachment of this.#byClient.get(client) ?? []) this.#end(attachment);
    this.#byClient.delete(client);
  }

  #attached(route: Route, generation: number): LinkClient | undefined {
    const index = route.pending.findIndex((attachment) => attachment.generation === generation);
    const [attachment] = index < 0 ? [] : route.pending.splice(index, 1);
    if (attachment === undefined) return undefined;
    const former = route.owner;
    // Set before the former one ends: the route must not go with it.
    route.owner = attachment;
    if (former !== undefined) {
      this.#byClient.get(former.client)?.delete(former);
      if (former.client !== attachment.client)
        former.client.send(encodeFrame({ type: FrameType.DETACHED, id: former.processId }));
    }
    return attachment.client;
  }

  /** The oldest one that has exited goes, and its client is told. */
  #makeRoom(held: Set<Attachment>): boolean {
    for (const attachment of held) {
      if (!attachment.exited) continue;
      this.#end(attachment);
      const { client, processId, generation } = attachment;
      refuse(
        client,
        processId,
        generation,
        `the process has exited, and ${MAX_ATTACHMENTS} others were attached since`,
      );
      return true;
    }
    return false;
  }

  #end(attachment: Attachment): void {
    const { client, processId } = attachment;
    this.#byClient.get(client)?.delete(attachment);
    const route = this.#routes.get(processId);
    if (route === undefined) return;
    if (route.owner === attachment) route.owner = undefined;
    const index = route.pending.indexOf(attachment);
    if (index >= 0) route.pending.splice(index, 1);
    if (route.owner === undefined && route.pending.length === 0) this.#routes.delete(processId);
  }
}

function refuse(client: LinkClient, id: number, generation: number, message: string): void {
  const payload = encodeFailure(Code.resource_exhausted, message);
  client.send(encodeFrame({ type: FrameType.REFUSED, id, generation, payload }));
}
