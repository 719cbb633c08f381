/** Text and bytes for stdout, in few writes; whoever reads slowly is waited for. */
const WRITE_CHARACTERS = 256 * 1024;

export class Output {
  #text = '';
  #blocked: Promise<void> | undefined;

  /** Without its newline; what comes from a capture has been made printable. */
  line(text: string): void {
    this.text(`${text}\n`);
  }

  lines(texts: Iterable<string>): void {
    for (const text of texts) this.line(text);
  }

  text(text: string): void {
    this.#text += text;
    if (this.#text.length >= WRITE_CHARACTERS) this.flush();
  }

  /** Never to a terminal. */
  bytes(bytes: Buffer): void {
    this.flush();
    this.#write(bytes);
  }

  flush(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    this.#write(text);
  }

  #write(bytes: string | Buffer): void {
    if (process.stdout.write(bytes)) return;
    // One for all that was written since: they are let go of together.
    this.#blocked ??= new Promise((resolve) => process.stdout.once('drain', resolve));
  }

  /** Between pieces of input: undefined when there is nothing to wait for. */
  room(): Promise<void> | undefined {
    const blocked = this.#blocked;
    this.#blocked = undefined;
    return blocked;
  }
}
