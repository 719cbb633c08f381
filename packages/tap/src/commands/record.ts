import { join } from 'node:path';
import { TapError } from '../errors.ts';
import { captureFromAgent } from '../record/agent-capture.ts';
import { CaptureFiles } from '../record/capture-files.ts';
import { captureFromProxy } from '../record/proxy-capture.ts';
import { count, formatBytes } from '../words/text.ts';
import { type Command, parseCommand, parseCount, parseSize } from './command.ts';

export const proxyOption = { proxy: { type: 'string' } } as const;
export const proxyHelp = {
  '--proxy SOCKET': "the proxy's socket; that of CORACLE_RUN or /run/coracle by default",
};

/** Where the runtime's proxy listens (docs/cli.md). */
export function proxySocket(given: string | undefined): string {
  return (
    given ?? process.env.CORACLE_PROXY_SOCKET ?? join(process.env.CORACLE_RUN || '/run/coracle', 'proxy.sock')
  );
}

export const record: Command = {
  usage: 'record --output FILE [SANDBOX…]',
  summary: 'record the frames of all sandboxes, or of these, until interrupted',
  options: {
    '--output FILE': 'the capture, in pcapng; it must not exist',
    '--payload':
      'with all that users type, print and configure; without it only lengths and digests are kept',
    '--headers-only': 'without digests too: costs least',
    '--max-size SIZE':
      'of one file; 1G unless given. Recording ends there, or with --files goes on in the next',
    '--in-agent': 'as the agent of one SANDBOX receives and sends them, in the guest',
    '--files N': 'keep the last N files: FILE, FILE.1, …',
    ...proxyHelp,
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['[SANDBOX…]'], {
      output: { type: 'string', short: 'o' },
      payload: { type: 'boolean', default: false },
      'headers-only': { type: 'boolean', default: false },
      'max-size': { type: 'string', default: '1G' },
      files: { type: 'string', default: '1' },
      'in-agent': { type: 'boolean', default: false },
      ...proxyOption,
    });
    if (values.output === undefined) throw new TapError('usage', '--output FILE is missing');
    if (values.payload && values['headers-only'])
      throw new TapError('usage', '--payload and --headers-only exclude each other');
    if (values['in-agent'] && positionals.length !== 1)
      throw new TapError('usage', '--in-agent needs one SANDBOX');
    const full = new AbortController();
    const files = new CaptureFiles({
      path: values.output,
      maxFileBytes: parseSize(values['max-size'], '--max-size'),
      files: parseCount(values.files, '--files'),
    });
    const say = (text: string): void => void process.stderr.write(`coracle-tap: ${text}\n`);
    const socketPath = proxySocket(values.proxy);
    try {
      const capture = (values['in-agent'] ? captureFromAgent : captureFromProxy)({
        socketPath,
        content: values.payload ? 'payload' : values['headers-only'] ? 'headers' : 'digests',
        sandboxes: positionals,
        signal: AbortSignal.any([signal, full.signal]),
        onState: (state) => {
          files.newSection();
          say(
            state === 'waiting'
              ? `no proxy listens on ${socketPath}; waiting for one`
              : 'recording; Ctrl-C ends it',
          );
        },
      });
      for await (const chunk of capture) {
        files.write(chunk);
        if (files.full) full.abort();
      }
    } finally {
      files.close();
    }
    if (files.full) say(`${values.output} is full (--max-size): recording has ended`);
    say(`${count(files.packets, 'record')}, ${formatBytes(files.bytes)} in ${values.output}`);
    return 0;
  },
};
