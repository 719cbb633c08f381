/** What has crossed the link since the VM was started, as plain numbers: counting is on the way of every frame. */
import type { LinkCounters as Message } from '@coracle/wire';

export class LinkCounters {
  /** Connections whose host was greeted. */
  links = 0;
  attaches = 0;
  framesReceived = 0;
  bytesReceived = 0;
  framesSent = 0;
  bytesSent = 0;
  /** Of streams, sent again after an attach. */
  retransmittedBytes = 0;
  /** How often a stream had sent all that it may. */
  stalls = 0;

  count(way: 'in' | 'out', bytes: number): void {
    if (way === 'in') {
      this.framesReceived++;
      this.bytesReceived += bytes;
    } else {
      this.framesSent++;
      this.bytesSent += bytes;
    }
  }

  addRetransmitted(bytes: number): void {
    this.retransmittedBytes += bytes;
  }

  addStall(): void {
    this.stalls++;
  }

  /** After a rehearsal, which nobody has seen. */
  reset(): void {
    Object.assign(this, new LinkCounters());
  }

  get message(): Message {
    return {
      links: BigInt(this.links),
      attaches: BigInt(this.attaches),
      framesReceived: BigInt(this.framesReceived),
      bytesReceived: BigInt(this.bytesReceived),
      framesSent: BigInt(this.framesSent),
      bytesSent: BigInt(this.bytesSent),
      retransmittedBytes: BigInt(this.retransmittedBytes),
      stalls: BigInt(this.stalls),
    };
  }
}
