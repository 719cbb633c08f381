/** A client: the product's Session, and the engine behind it that writes and reads at the story's pace. */
import { asRpcError, type RpcError } from '@coracle/wire';
import type { Channel } from '../../packages/client/src/channel.ts';
import type { ProcessResult } from '../../packages/client/src/result.ts';
import { Session } from '../../packages/client/src/session.ts';
import { connectionPair, type End } from './byte-pipe.ts';
import { inputBytes, OutputCheck } from './bytes.ts';
import type { Heard, Program } from './program.ts';

export interface Sizes {
  readonly windowBytes: number;
  readonly bufferBytes: number;
}

export class Client {
  readonly session: Session;
  readonly name: string;
  /** Its end of the present connection. */
  end: End | undefined;
  crashed = false;
  readonly attachments: Attachment[] = [];

  constructor(name: string, connect: (client: Client) => End, startProxy: () => void) {
    this.name = name;
    this.session = new Session('box', {
      socketPath: 'the proxy',
      connect: () => {
        if (this.crashed) return connectionPair()[0];
        this.end = connect(this);
        return this.end;
      },
      startProxy: async () => startProxy(),
    });
  }

  attach(program: Program, owner: number, sole: boolean, sizes: Sizes): Attachment {
    const { process, kind } = program;
    const handle = { process: process.number, token: process.token, pid: 0, ...kind };
    const channel = this.session.openChannel(handle, { stdout: 'pipe', stderr: 'pipe', sole, ...sizes });
    const attachment = new Attachment(this, program, owner, sole, channel);
    this.attachments.push(attachment);
    return attachment;
  }

  /** Killed: its connection ends, and it never comes back. */
  crash(keepBytes: number): void {
    if (this.crashed) return;
    this.crashed = true;
    this.end?.kill(keepBytes);
    for (const attachment of this.attachments) attachment.killed();
  }
}

/** One client's hold of one program. */
export class Attachment {
  readonly client: Client;
  readonly program: Program;
  /** Whose bytes of stdin these are. */
  readonly owner: number;
  readonly channel: Channel;
  readonly outputs: readonly [OutputCheck, OutputCheck];
  readonly ended = [false, false];
  readonly stopped = [false, false];
  /** Told to the program, in order. */
  readonly said: Heard[] = [];
  inputWritten = 0;
  inputEnded = false;
  inputBroken = false;
  result: ProcessResult | undefined;
  failure: RpcError | undefined;

  constructor(client: Client, program: Program, owner: number, sole: boolean, channel: Channel) {
    this.client = client;
    this.program = program;
    this.owner = owner;
    this.channel = channel;
    const start = sole ? 0 : undefined;
    this.outputs = [new OutputCheck(program.index, 0, start), new OutputCheck(program.index, 1, start)];
    channel.stdout.on('end', () => {
      this.ended[0] = true;
    });
    channel.stderr.on('end', () => {
      this.ended[1] = true;
    });
    channel.result.then(
      (result) => {
        this.result = result;
      },
      (error: unknown) => {
        this.failure = asRpcError(error);
      },
    );
  }

  get live(): boolean {
    return this.failure === undefined && !this.client.crashed;
  }

  /** What Node had for the engine counts as delivered. */
  killed(): void {
    const { stdout, stderr } = this.channel;
    this.outputs[0].killed(stdout.readableLength);
    this.outputs[1].killed(stderr.readableLength);
  }

  write(bytes: number): void {
    const { stdin } = this.channel;
    if (this.inputEnded || this.inputBroken || !stdin.writable || stdin.writableNeedDrain) return;
    stdin.write(inputBytes(this.owner, this.inputWritten, bytes), (error) => {
      if (error) this.inputBroken = true;
    });
    this.inputWritten += bytes;
  }

  endInput(): void {
    if (this.inputEnded) return;
    this.inputEnded = true;
    this.channel.stdin.end();
  }

  say(heard: Heard): void {
    if (this.channel.settled || this.channel.exited) return;
    this.said.push(heard);
    const { kind, value } = heard;
    this.channel.control(kind === 'signal' ? { kind, signal: value } : { kind, columns: value, rows: 24 });
  }

  /** @returns whether anything came */
  read(stream: number, bytes: number): boolean {
    const output = stream === 0 ? this.channel.stdout : this.channel.stderr;
    if (output.destroyed || this.ended[stream] || this.client.crashed) return false;
    // Asks for more when there is nothing: that is how a reader shows that it waits.
    const wanted = Math.min(bytes, output.readableLength);
    const chunk = output.read(wanted) as Buffer | null;
    if (chunk === null || chunk.length === 0) return false;
    this.outputs[stream]?.take(chunk, this.program.written[stream] as number);
    return true;
  }

  stop(stream: number): void {
    this.stopped[stream] = true;
    (stream === 0 ? this.channel.stdout : this.channel.stderr).destroy();
  }
}
