/**
 * The Wireshark dissector in tshark: every record of every capture is read as coracle-tap reads it, broken rules are
 * found where coracle-tap finds them and nowhere else, and damaged records are no error of the dissector.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diagnose, NamesBySandbox, processNumber, readCapture, streamKind } from '@coracle/tap';
import { FrameType, frameTypeName } from '@coracle/wire';
import { afterAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const script = join(root, 'dist/coracle.lua');
const folder = mkdtempSync(join(tmpdir(), 'coracle-dissector-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** One row for each record. Read twice and filtered, as Wireshark does: answers are known when requests are shown. */
function tshark(file: string, fields: readonly string[]): string[][] {
  const args = [
    '-2',
    '-R',
    'frame',
    '-X',
    `lua_script:${script}`,
    '-r',
    file,
    '-T',
    'fields',
    '-E',
    'separator=|',
    '-E',
    'aggregator=;',
  ];
  const text = execFileSync('tshark', [...args, ...fields.flatMap((field) => ['-e', field])], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
    env: { PATH: process.env.PATH, HOME: folder },
  });
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.split('|'));
}

const captures = ['failures', 'healthy'].flatMap((kind) =>
  readdirSync(join(root, 'test/captures', kind)).map((name) => `test/captures/${kind}/${name}`),
);

const fields = [
  'frame.number',
  'coracle.direction',
  'coracle.connection',
  'coracle.type',
  'coracle.id',
  'coracle.generation',
  'coracle.offset',
  'coracle.length',
  'coracle.container',
  'coracle.exec',
  'coracle.stream',
];

/** The same by coracle-tap; containers and execs of what has one. */
async function byTap(file: string): Promise<string[][]> {
  const rows: string[][] = [];
  const names = new NamesBySandbox();
  await readCapture(file, {
    record: (record) => {
      const own = names.of(record);
      own.take(record);
      const { number, direction, connection, isEvent, type, id, generation, offset, length } = record;
      if (isEvent) {
        rows.push([`${number}`, `${direction}`, `${connection}`, '', '', '', '', '', '', '', '']);
        return;
      }
      const ofStream = [FrameType.DATA, FrameType.EOF, FrameType.WINDOW, FrameType.STOP].some(
        (one) => one === type,
      );
      const ofProcess = [
        FrameType.ATTACH,
        FrameType.ATTACHED,
        FrameType.REFUSED,
        FrameType.EXIT,
        FrameType.DETACHED,
      ].some((one) => one === type);
      const name = ofStream || ofProcess ? own.process(processNumber(id)) : undefined;
      const stream = ofStream ? `${['control', 'stdin', 'stdout', 'stderr'].indexOf(streamKind(id))}` : '';
      const hex = `0x${type.toString(16).padStart(2, '0')}`;
      rows.push([
        `${number}`,
        `${direction}`,
        `${connection}`,
        hex,
        `${id}`,
        `${generation}`,
        `${offset}`,
        `${length}`,
        name?.container ?? '',
        name?.exec ?? '',
        stream,
      ]);
    },
  });
  return rows;
}

describe.each(captures)('%s', (file) => {
  it('is read as coracle-tap reads it', async () => {
    const path = join(root, file);
    expect(tshark(path, fields)).toEqual(await byTap(path));
  });

  it('has its broken rules where coracle-tap finds them, and nowhere else', async () => {
    const { findings } = await diagnose(join(root, file));
    const broken = findings.filter(({ cause }) => cause === 'protocol_violation');
    const rows = tshark(join(root, file), [
      'frame.number',
      'coracle.violation',
      'coracle.malformed',
      '_ws.lua.error',
    ]);
    const violations = rows.filter(([, violation]) => violation !== '').map(([number]) => Number(number));
    expect(rows.filter(([, , malformed, error]) => malformed !== '' || (error ?? '') !== '')).toEqual([]);
    for (const { evidence } of broken) expect(violations).toEqual(expect.arrayContaining([...evidence]));
    if (broken.length === 0) expect(violations).toEqual([]);
  });
});

it('tells what a frame means in the info column, and who sent it', () => {
  const rows = tshark(join(root, 'test/captures/healthy/terminal.pcapng'), [
    '_ws.col.Source',
    '_ws.col.Destination',
    '_ws.col.Info',
  ]);
  expect(rows[7]).toEqual(['client 2', 'agent', 'REQUEST CreateContainer web']);
  expect(rows[16]).toEqual(['agent', 'client 2', 'RESPONSE ExecProcess web/shell: done']);
  expect(rows[42]).toEqual(['client 2', 'agent', 'DATA web/shell control size 100x30']);
  expect(rows.some(([, , info]) => info === 'EXIT web/shell exited with 0')).toBe(true);
});

it('links answers to requests, and shows messages by the schema', () => {
  const wanted = [
    'coracle.request_in',
    'coracle.response_in',
    'coracle.method',
    'coracle.ExecProcessRequest.exec_id',
    'coracle.ExecProcessRequest.columns',
    'coracle.ProcessHandle.terminal',
    'coracle.time',
  ];
  const rows = tshark(join(root, 'test/captures/healthy/terminal.pcapng'), wanted);
  expect(rows[15]).toEqual(['', '17', 'ExecProcess', 'shell', '80', '', '']);
  expect(rows[16]).toEqual(['16', '', 'ExecProcess', '', '', '1', expect.stringMatching(/^0\.0163/)]);
});

it('says where a stream has no credit, and what crossed again', () => {
  const experts = (file: string, field: string): number[] =>
    tshark(join(root, `test/captures/${file}.pcapng`), ['frame.number', field]).flatMap(([number, value]) =>
      value === '' ? [] : [Number(number)],
    );
  expect(experts('failures/stuck-reader', 'coracle.no_credit')).toEqual([145]);
  expect(experts('failures/two-owners', 'coracle.repeated').length).toBeGreaterThan(0);
  expect(experts('failures/wrong-token', 'coracle.refused')).toHaveLength(1);
  expect(experts('healthy/command-not-found', 'coracle.failed')).toHaveLength(1);
});

it('reads damaged records as far as they go, and never fails itself', async () => {
  // Bytes within records: blocks stay what they are. A generator of its own, so that a failure can be seen again.
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (const file of ['healthy/terminal', 'failures/guest-breaks-rules', 'failures/two-owners']) {
    const path = join(root, `test/captures/${file}.pcapng`);
    const whole = readFileSync(path);
    const places: number[] = [];
    await readCapture(path, {
      record: ({ fileOffset, dataBytes }) => {
        for (let byte = 0; byte < Math.min(dataBytes, 120); byte++) places.push(fileOffset + 28 + byte);
      },
    });
    const hurt = Buffer.from(whole);
    for (let times = 0; times < places.length / 10; times++)
      hurt[places[random(places.length)] as number] = random(256);
    const damaged = join(folder, 'damaged.pcapng');
    writeFileSync(damaged, hurt);
    const rows = tshark(damaged, ['frame.number', '_ws.lua.error', '_ws.col.Info']);
    expect(rows.length).toBeGreaterThan(20);
    expect(rows.filter(([, error, info]) => error !== '' || /Lua Error/.test(info ?? ''))).toEqual([]);
  }
});

it('knows all types', () => {
  const text = readFileSync(script, 'utf8');
  for (const type of Object.values(FrameType)) expect(text).toContain(`[${type}] = "${frameTypeName(type)}"`);
});
