/** Whatever a guest sends, nothing that is printed holds a character that a terminal obeys. */
import { Direction, ExecProcessRequest, encodeFailure, encodeFrame, FrameType } from '@coracle/wire';
import { expect, it } from 'vitest';
import { NamesBySandbox } from '../model/names-by-sandbox.ts';
import { CaptureReader } from '../read/capture-reader.ts';
import { makeCapture } from '../testing/make-capture.ts';
import { explain, route, typeName } from './explain.ts';
import { recordJson } from './json.ts';
import { printable } from './text.ts';

const EVIL = '\x1b]0;owned\x07\x1b[2J\u009b31m\u202egnp.exe\r\n';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OBEYED = /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

function linesOf(capture: Buffer): { text: string[]; json: string[] } {
  const names = new NamesBySandbox();
  const lines = { text: [] as string[], json: [] as string[] };
  const reader = new CaptureReader({
    record: (record) => {
      const own = names.of(record);
      const message = own.take(record);
      lines.text.push(
        `${printable(record.sandbox)} ${route(record)} ${typeName(record)} ${explain(record, own, message)}`,
      );
      lines.json.push(recordJson(record, own, message));
    },
  });
  reader.push(capture, true);
  return lines;
}

it.each(['payload', 'digests'] as const)(
  'control sequences of guests and clients are shown as escapes: %s',
  (content) => {
    const exec = ExecProcessRequest.fromPartial({
      containerId: EVIL,
      execId: EVIL,
      process: Buffer.from(EVIL),
    });
    const capture = makeCapture(content, (sandbox) => {
      const box = sandbox(EVIL).bound().ask(1, 'ExecProcess', ExecProcessRequest.encode(exec).finish());
      box
        .ask(2, EVIL)
        .answer(1, { error: { code: 5, message: EVIL, cause: EVIL } })
        .attach();
      box.data(6, 0, EVIL);
      box.box.event('client_closed', 1, { code: 3, text: EVIL });
      const payload = encodeFailure(3, EVIL);
      box.box.frame(Direction.toClient, 1, encodeFrame({ type: FrameType.REFUSED, id: 4, payload }));
      box.box.frame(Direction.toClient, 1, encodeFrame({ type: FrameType.GOAWAY, payload }));
    });
    const { text, json } = linesOf(capture);
    expect(text.length).toBe(11);
    for (const line of [...text, ...json]) expect(line).not.toMatch(OBEYED);
    for (const line of json) expect(JSON.parse(line).sandbox).toBe(EVIL);
  },
);

it('says what frames mean', () => {
  const exec = ExecProcessRequest.fromPartial({ containerId: 'web', execId: 'e1' });
  const capture = makeCapture('digests', (sandbox) => {
    const box = sandbox('box')
      .bound()
      .ask(1, 'ExecProcess', ExecProcessRequest.encode(exec).finish())
      .attach();
    box.data(6, 0, 'hello').window(6, 5, 1029).exit(5);
  });
  expect(linesOf(capture).text).toEqual([
    'box link link_open the agent has answered: the link is open',
    'box client 1 client_bound a client binds: coracle-shim, pid 4711',
    'box client 1 → agent REQUEST request 1: ExecProcess (containerId web, execId e1)',
    'box client 1 → agent ATTACH takes process 1 over: has stdout to 0 of at most 1024, stderr to 0',
    'box agent → client 1 ATTACHED has process 1: stdin from 0 to at most 1024, stdout from 0, stderr from 0',
    'box agent → client 1 DATA stdout of process 1: 5 bytes, 0 to 5',
    'box client 1 → agent WINDOW stdout of process 1: delivered to 5, may be sent to 1029',
    'box agent → client 1 EXIT process 1 exited with 0; stdout ends at 5, stderr at 0',
  ]);
});
