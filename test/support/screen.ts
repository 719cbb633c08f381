/** A program at a real pty, and the screen that a terminal shows of it (@xterm/headless). */
import xterm from '@xterm/headless';
import { AtTerminal } from './program.ts';
import { until } from './wait.ts';

export class ScreenOf extends AtTerminal {
  readonly terminal: InstanceType<typeof xterm.Terminal>;
  #taken = 0;

  constructor(
    file: string,
    args: readonly string[],
    env: Record<string, string>,
    size = { columns: 80, rows: 24 },
  ) {
    super(file, args, env, size);
    this.terminal = new xterm.Terminal({ cols: size.columns, rows: size.rows, allowProposedApi: true });
  }

  override resize(size: { columns: number; rows: number }): void {
    this.terminal.resize(size.columns, size.rows);
    super.resize(size);
  }

  /** What stands there now, rows without the blanks behind them. A picture that has come in part is not looked at yet. */
  async text(): Promise<string> {
    const whole = this.#wholePictures();
    const bytes = Buffer.from(this.shown.slice(this.#taken, whole), 'latin1');
    this.#taken = Math.max(this.#taken, whole);
    await new Promise<void>((resolve) => this.terminal.write(bytes, resolve));
    const { active } = this.terminal.buffer;
    const rows = Array.from(
      { length: this.terminal.rows },
      (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? '',
    );
    return rows.join('\n');
  }

  /** Waits until the screen has it. @returns the screen */
  async has(what: string | RegExp): Promise<string> {
    let text = '';
    const found = async (): Promise<boolean> => {
      text = await this.text();
      return typeof what === 'string' ? text.includes(what) : what.test(text);
    };
    await until(found, () => `the screen has ${what}; it is\n${text}`);
    return text;
  }

  /** @returns where the synchronized output that is still open begins, or the end: a terminal shows no half of it */
  #wholePictures(): number {
    const begin = this.shown.lastIndexOf('\x1b[?2026h');
    return begin > this.shown.lastIndexOf('\x1b[?2026l') ? begin : this.shown.length;
  }
}
