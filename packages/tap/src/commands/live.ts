import { TapError } from '../errors.ts';
import { App } from '../live/app.ts';
import { Feed } from '../live/feed.ts';
import { OperatorTerminal } from '../live/operator-terminal.ts';
import { SAMPLE_MS } from '../live/rates.ts';
import { type Command, parseCommand } from './command.ts';
import { proxyHelp, proxyOption, proxySocket } from './record.ts';

/** Pictures that follow each other faster are one. */
const DRAW_MS = 40;

export const live: Command = {
  usage: 'live [SANDBOX…] [--payload]',
  summary: 'show sandboxes, processes and streams on the whole screen, as they move, and who waits for whom',
  options: {
    '--payload': 'with all that users type and print, so that a stream can be opened: text, hex, its screen',
    ...proxyHelp,
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['[SANDBOX…]'], {
      payload: { type: 'boolean', default: false },
      ...proxyOption,
    });
    const { stdin, stdout } = process;
    if (!stdin.isTTY || !stdout.isTTY)
      throw new TapError('usage', "live needs a terminal; 'coracle-tap record' and 'show' do not");
    const feed = new Feed({
      socketPath: proxySocket(values.proxy),
      sandboxes: positionals,
      payload: values.payload,
    });
    const quit = new AbortController();
    const end = AbortSignal.any([signal, quit.signal]);
    let drawing: NodeJS.Timeout | undefined;
    const draw = (): void => {
      drawing ??= setTimeout(() => {
        drawing = undefined;
        terminal.show(app.draw(terminal.size));
      }, DRAW_MS);
    };
    const app = new App(feed, draw);
    using terminal = new OperatorTerminal(stdin, stdout, {
      key: (key) => {
        if (app.key(key)) quit.abort();
      },
      changed: draw,
    });
    const ticking = setInterval(() => {
      app.tick();
      draw();
    }, SAMPLE_MS);
    draw();
    try {
      await feed.run(end);
    } finally {
      clearInterval(ticking);
      clearTimeout(drawing);
    }
    return signal.aborted ? 130 : 0;
  },
};
