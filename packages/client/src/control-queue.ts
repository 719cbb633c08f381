/** Signals and resizes on their way to a process: a numbered stream, so that each arrives once and in order. */
import {
  CONTROL_RECORD_BYTES,
  CONTROL_WINDOW_BYTES,
  type ControlRecord,
  encodeControlRecord,
  RpcError,
  SendStream,
  type SendStreamEvents,
} from '@coracle/wire';

/** While the guest is paused or the link is down records wait; nobody means to send more signals than this. */
const MAX_WAITING_RECORDS = 4096;

export class ControlQueue {
  readonly stream: SendStream;
  #waiting: ControlRecord[] = [];
  #open = false;

  constructor(id: number, ready: SendStreamEvents['ready']) {
    this.stream = new SendStream(
      id,
      { ready, room: () => this.#advance(), stopped: () => undefined },
      { retentionBytes: CONTROL_WINDOW_BYTES },
    );
  }

  /** The agent has said where it goes on. */
  opened(): void {
    this.#open = true;
    this.#advance();
  }

  /** @throws RpcError resource_exhausted when thousands wait already */
  push(record: ControlRecord): void {
    // Of sizes that have not left, only the last one counts.
    if (record.kind === 'resize' && this.#waiting.at(-1)?.kind === 'resize') this.#waiting.pop();
    if (this.#waiting.length >= MAX_WAITING_RECORDS) {
      throw new RpcError(
        'resource_exhausted',
        `${MAX_WAITING_RECORDS} signals and sizes wait for the process already; is the VM paused?`,
      );
    }
    this.#waiting.push(record);
    this.#advance();
  }

  #advance(): void {
    if (!this.#open) return;
    let count = 0;
    while (count < this.#waiting.length && this.stream.room >= CONTROL_RECORD_BYTES) {
      this.stream.push(encodeControlRecord(this.#waiting[count++] as ControlRecord));
    }
    if (count > 0) this.#waiting.splice(0, count);
  }
}
