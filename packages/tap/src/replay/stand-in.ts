/**
 * What runs in place of the recorded processes: a shell of busybox that prints the recorded bytes at the recorded times,
 * reads as much as was read, and ends as it was ended. The programs themselves, their files and their network are not in
 * a capture.
 */
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TapError } from '../errors.ts';
import type { ProcessPlan } from './plan.ts';
import { spoolPath } from './plan.ts';

const BUSYBOX = '/bin/busybox';
const APPLETS = ['sh', 'cat', 'dd', 'head', 'sleep', 'stty', 'kill'];
/** Below the root. */
const FOLDER = 'replay';
/** What the agent's pipes hold: bytes in them count as delivered, and nobody has read them. */
const PIPE_BYTES = 256 * 1024;
/** What came closer together than this is printed in one go: a program is started for each. */
const TOGETHER_NS = 20e6;

/** @returns the folder for spools, which the processes see, too. @throws TapError not-found */
export function makeRoot(root: string): string {
  if (!existsSync(BUSYBOX))
    throw new TapError(
      'not-found',
      `replay needs ${BUSYBOX}, linked statically: Debian's package busybox-static`,
    );
  for (const name of ['bin', 'dev', 'proc', FOLDER]) mkdirSync(join(root, name), { recursive: true });
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', join(root, 'bin', applet));
  return join(root, FOLDER);
}

/** The process object of the OCI configuration. @param terminal as it was recorded */
export function standInProcess(plan: ProcessPlan, folder: string, speed: number, startNs: number) {
  const { number, made } = plan.flow;
  writeFileSync(join(folder, `${number}.sh`), script(plan, speed, startNs));
  return {
    args: ['/bin/sh', `/${FOLDER}/${number}.sh`],
    env: ['PATH=/bin'],
    cwd: '/',
    user: { uid: 0, gid: 0 },
    terminal: made?.terminal ?? false,
  };
}

export function standInConfig(process: object): object {
  return {
    ociVersion: '1.0.2',
    process,
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      namespaces: ['pid', 'network', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
    },
  };
}

function script({ flow, pieces }: ProcessPlan, speed: number, startNs: number): string {
  const { exit, made, stdin, lastSignal, outputs } = flow;
  const signal = exit === undefined ? 0 : exit.waitStatus & 0x7f;
  const path = (stream: string): string => spoolPath(`/${FOLDER}`, flow.number, stream);
  const lines = [
    // A terminal's echo and its carriage returns are among the recorded bytes.
    ...(made?.terminal ? ['stty raw -echo'] : []),
    ...(lastSignal !== undefined && signal === 0 ? ["trap '' HUP INT TERM QUIT"] : []),
    `exec 3<&0 4<${path('stdout')} 5<${path('stderr')}`,
    `${reader(stdin)} <&3 >/dev/null 2>&1 &`,
    'exec 3<&- 0</dev/null',
  ];
  let now = startNs;
  const printed = { stdout: 0, stderr: 0 };
  const wait = (timeNs: number): void => {
    const seconds = (timeNs - now) / speed / 1e9;
    if (seconds >= 0.001) lines.push(`sleep ${seconds.toFixed(3)}`);
    now = Math.max(now, timeNs);
  };
  const print = (stream: 'stdout' | 'stderr', bytes: number): void => {
    if (bytes === 0) return;
    const [from, to] = stream === 'stdout' ? [4, 1] : [5, 2];
    // dd reads no more than it is told to, and so leaves the rest for the next one.
    const copy = (size: number, times: number): void =>
      void (size * times > 0 && lines.push(`dd bs=${size} count=${times} <&${from} >&${to} 2>/dev/null`));
    copy(32_768, Math.floor(bytes / 32_768));
    copy(bytes % 32_768, 1);
    printed[stream] += bytes;
  };
  for (const piece of together(pieces)) {
    wait(piece.timeNs);
    print(piece.stream, piece.bytes);
  }
  for (const stream of outputs) {
    const kind = stream.kind as 'stdout' | 'stderr';
    print(kind, Math.max(0, (stream.final ?? 0) - printed[kind]));
  }
  if (exit === undefined) lines.push('exec sleep 1000000');
  else {
    wait(exit.timeNs);
    lines.push(signal === 0 ? `exit ${(exit.waitStatus >> 8) & 0xff}` : `kill -${signal} $$`);
  }
  return `${lines.join('\n')}\n`;
}

/** Reads as much as was read. Of what has filled the pipe nothing is read, and the pipe stays open. */
function reader({ blocked, delivered = 0 }: ProcessPlan['flow']['stdin']): string {
  if (blocked === undefined) return 'cat';
  return `{ head -c ${Math.max(0, delivered - PIPE_BYTES)}; exec sleep 1000000; }`;
}

function together(pieces: ProcessPlan['pieces']): ProcessPlan['pieces'] {
  const joined: ProcessPlan['pieces'] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last !== undefined && last.stream === piece.stream && piece.timeNs - last.timeNs < TOGETHER_NS)
      joined[joined.length - 1] = { ...last, bytes: last.bytes + piece.bytes };
    else joined.push(piece);
  }
  return joined;
}
