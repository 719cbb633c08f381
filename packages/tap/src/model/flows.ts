/** All sandboxes of a capture. */
import type { Counters } from '../read/capture-reader.ts';
import type { RecordView } from '../read/record-view.ts';
import type { ControlMessage } from './messages.ts';
import { type FlowEvents, SandboxFlow } from './sandbox-flow.ts';

export class Flows {
  readonly sandboxes = new Map<string, SandboxFlow>();
  readonly #events: FlowEvents;
  #last: SandboxFlow | undefined;

  constructor(events: FlowEvents = {}) {
    this.#events = events;
  }

  of(sandbox: string): SandboxFlow {
    if (this.#last?.sandbox === sandbox) return this.#last;
    let flow = this.sandboxes.get(sandbox);
    if (flow === undefined) {
      flow = new SandboxFlow(sandbox, this.#events);
      this.sandboxes.set(sandbox, flow);
    }
    this.#last = flow;
    return flow;
  }

  take(record: RecordView): ControlMessage | undefined {
    return this.of(record.sandbox).take(record);
  }

  counters({ interface: { sandbox }, newlyDropped }: Counters): void {
    if (newlyDropped > 0) this.of(sandbox).lost(newlyDropped);
  }
}
