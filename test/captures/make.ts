/**
 * Records the captures of this folder anew: `tsx test/captures/make.ts [NAME…]`. Real proxies and agents (the local
 * driver), real faults. They hold no payload, but for `terminal`, in which nothing but this script has typed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Container,
  type ContainerProcess,
  Coracle,
  type ExecOptions,
  type Sandbox,
} from '@coracle/client';
import { CaptureFiles, captureFromProxy } from '@coracle/tap';
import {
  Connection,
  CreateContainerResponse,
  encodeAttached,
  type Frame,
  FrameType,
  MessageAssembler,
  Request,
  Response,
  Role,
  RpcError,
  sendMessage,
} from '@coracle/wire';
import { containerConfig, type LocalPlace, makeLocalPlace, until } from '../local/local-sandbox.ts';
import { allProcesses } from '../support/processes.ts';
import { failures, healthy } from './cases.ts';

/** Longer than the second after which something stands still, and than the proxy's second between two looks. */
const STAND_STILL_MS = 3200;

class Scene implements AsyncDisposable {
  readonly place: LocalPlace;
  readonly #undo = new AsyncDisposableStack();
  #stopRecording: () => Promise<void> = async () => undefined;
  sandbox!: Sandbox;
  web!: Container;

  private constructor(place: LocalPlace) {
    this.place = place;
  }

  static async begin(path: string, content: 'digests' | 'payload'): Promise<Scene> {
    const scene = new Scene(await makeLocalPlace());
    scene.#undo.use(scene.place);
    await scene.place.ensureProxy();
    await scene.#record(path, content);
    return scene;
  }

  async #record(path: string, content: 'digests' | 'payload'): Promise<void> {
    rmSync(path, { force: true });
    const files = new CaptureFiles({ path, maxFileBytes: 1e9, files: 1 });
    const end = new AbortController();
    let capturing = false;
    const done = (async () => {
      const onState = (state: string): void => {
        files.newSection();
        capturing ||= state === 'capturing';
      };
      const socketPath = this.place.proxySocket;
      for await (const chunk of captureFromProxy({
        socketPath,
        content,
        sandboxes: [],
        signal: end.signal,
        onState,
      }))
        files.write(chunk);
      files.close();
    })();
    await until(() => capturing, 'the capture has begun');
    this.#stopRecording = async () => {
      end.abort();
      await done;
    };
  }

  /** A sandbox with a container `web` that sleeps. */
  async start(args = ['sleep', '100000']): Promise<void> {
    this.sandbox = await this.place.startSandbox();
    this.#undo.defer(() => this.sandbox.destroy({ force: true }).catch(() => undefined));
    this.web = await this.create('web', args);
    await this.web.start();
  }

  create(id: string, args: string[]): Promise<Container> {
    const rootfs = { share: 'host', path: 'rootfs' };
    return this.sandbox.createContainer({ id, config: containerConfig(args), rootfs });
  }

  exec(id: string, command: string, options: Partial<ExecOptions> = {}): Promise<ContainerProcess> {
    return this.web.exec({ args: ['sh', '-c', command], id, ...options });
  }

  get agentPid(): number {
    const link = join(this.place.directory, 'sandboxes', this.sandbox.id);
    const agent = allProcesses().find(
      ({ commandLine }) => commandLine.includes(link) && commandLine.includes('--local'),
    );
    if (agent === undefined) throw new Error('there is no agent');
    return agent.pid;
  }

  /** Another program that has attached to a process. */
  async other(process: ContainerProcess): Promise<ChildProcess> {
    const handle = JSON.stringify(process.handle, (name, value) =>
      name === 'token' ? Buffer.from(value.data ?? Object.values(value)).toString('hex') : value,
    );
    const program = join(import.meta.dirname, 'other-client.ts');
    const child = spawn(
      globalThis.process.execPath,
      [program, this.place.proxySocket, this.sandbox.id, handle],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    this.#undo.defer(() => void child.kill('SIGKILL'));
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  }

  /** The proxy's own socket, spoken to by hand. */
  async client(): Promise<Connection> {
    const opened = Promise.withResolvers<void>();
    const socket = net.connect(this.place.proxySocket);
    const connection: Connection = new Connection(
      socket,
      { role: Role.client, opener: true },
      {
        open: () => connection.send({ type: FrameType.BIND, payload: Buffer.from(this.sandbox.id) }),
        frame: ({ type }) => void (type === FrameType.BOUND && opened.resolve()),
        closed: () => undefined,
      },
    );
    this.#undo.defer(() => void socket.destroy());
    await opened.promise;
    return connection;
  }

  /** A guest that does what `frame` says, as sandbox `fake`. */
  async guest(frame: (guest: Connection, frame: Frame) => void): Promise<Sandbox> {
    const folder = join(this.place.directory, 'sandboxes', 'fake');
    mkdirSync(folder, { recursive: true });
    const server = net.createServer((socket) => {
      const guest: Connection = new Connection(
        socket,
        { role: Role.agent, opener: false },
        { open: () => undefined, frame: (one) => frame(guest, one), closed: () => undefined },
      );
    });
    server.listen(join(folder, 'link.sock'));
    await once(server, 'listening');
    this.#undo.defer(() => void server.close());
    return await this.place.coracle.connect('fake');
  }

  /** Ends whatever was stopped, so that it can be tidied up. */
  continueLater(pid: number): void {
    this.#undo.defer(() => void process.kill(pid, 'SIGCONT'));
  }

  later(undo: () => unknown): void {
    this.#undo.defer(async () => void (await undo()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // First, so that a capture ends with what it is about, and not with tidying up.
    await this.#stopRecording();
    await this.#undo.disposeAsync();
  }
}

type Play = (scene: Scene) => Promise<void>;
const still = (): Promise<void> => pause(STAND_STILL_MS);

const plays: Record<string, Play> = {
  async 'stuck-reader'(scene) {
    await scene.start();
    await scene.exec('flood', 'while :; do seq 1 100000; done');
    await still();
  },
  async 'stopped-client'(scene) {
    await scene.start();
    const other = await scene.other(
      await scene.exec('flood', 'sleep 1; while :; do seq 1 100000; done', { attach: false }),
    );
    process.kill(other.pid as number, 'SIGSTOP');
    await still();
    await still();
  },
  async 'exit-waits-for-reader'(scene) {
    await scene.start();
    await scene.exec('short', 'head -c 400000 /dev/zero');
    await still();
  },
  async 'exit-waits-for-credit'(scene) {
    await scene.start();
    await scene.exec('long', 'head -c 1180000 /dev/zero');
    await still();
  },
  async 'stdin-not-read'(scene) {
    await scene.start();
    const deaf = await scene.exec('deaf', 'sleep 1000', { stdin: true });
    deaf.stdin.on('error', () => undefined).write(Buffer.alloc(3_000_000));
    await still();
  },
  async 'half-close-missing'(scene) {
    await scene.start();
    const count = await scene.exec('count', 'wc -l', { stdin: true });
    count.stdin.write('one\ntwo\nthree\n');
    await still();
  },
  async 'agent-stopped'(scene) {
    await scene.start();
    process.kill(scene.agentPid, 'SIGSTOP');
    scene.continueLater(scene.agentPid);
    scene.web.processes().catch(() => undefined);
    await still();
  },
  async 'agent-silent'(scene) {
    await scene.start();
    const pid = scene.agentPid;
    process.kill(pid, 'SIGSTOP');
    scene.continueLater(pid);
    await scene.place.killProxy();
    scene.web.processes().catch(() => undefined);
    await still();
  },
  async 'guest-does-not-read'(scene) {
    await scene.start();
    const cat = await scene.exec('cat', 'cat > /dev/null', { stdin: true });
    process.kill(scene.agentPid, 'SIGSTOP');
    scene.continueLater(scene.agentPid);
    cat.stdin.on('error', () => undefined).write(Buffer.alloc(4_000_000));
    await still();
    await still();
  },
  async 'proxy-killed-often'(scene) {
    await scene.start();
    const ticks = await scene.exec('ticks', 'while :; do echo tick; sleep 0.05; done');
    let bytes = 0;
    ticks.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    for (let time = 0; time < 6; time++) {
      const before = bytes;
      await until(() => bytes > before + 20, 'it ticks');
      await scene.place.killProxy();
    }
    const before = bytes;
    await until(() => bytes > before + 100, 'it ticks');
  },
  async 'link-loop'(scene) {
    const fake = await scene.guest((guest) =>
      guest.close(new RpcError('aborted', 'the guest starts its agent anew')),
    );
    scene.later(() => fake.close());
    fake.details().catch(() => undefined);
    await still();
  },
  async 'vm-lost'(scene) {
    await scene.start();
    // Nobody is left to end them.
    const left = await scene.web.processes();
    scene.later(() => left.forEach((pid) => void process.kill(pid, 'SIGKILL')));
    process.kill(scene.agentPid, 'SIGKILL');
    await scene.web.process.wait();
    await still();
  },
  async 'client-gone'(scene) {
    await scene.start();
    const other = await scene.other(await scene.exec('left', 'sleep 1000', { attach: false }));
    other.kill('SIGKILL');
    await still();
  },
  async 'client-breaks-rules'(scene) {
    await scene.start();
    const mad = await scene.client();
    mad.send({ type: FrameType.BOUND });
    await still();
  },
  async 'guest-breaks-rules'(scene) {
    const messages = new MessageAssembler(16);
    const fake = await scene.guest((guest, frame) => {
      if (frame.type === FrameType.REQUEST) {
        const message = messages.add(frame);
        if (message === undefined) return;
        const { method } = Request.decode(message);
        const handle = { process: 1, token: Buffer.alloc(16, 1), terminal: false, stdin: false, pid: 2 };
        const payload =
          method === 'CreateContainer'
            ? CreateContainerResponse.encode({ process: handle }).finish()
            : new Uint8Array();
        sendMessage(
          guest,
          FrameType.RESPONSE,
          frame.id,
          Response.encode({ payload, error: undefined }).finish(),
        );
        return;
      }
      if (frame.type !== FrameType.ATTACH) return;
      const credit = { delivered: 0, limit: 1024 };
      const payload = encodeAttached({ stdin: credit, control: credit, stdoutStart: 0, stderrStart: 0 });
      const fields = { generation: frame.generation };
      guest.send({ type: FrameType.ATTACHED, id: 4, ...fields, payload });
      for (let offset = 0; offset < 1_700_000; offset += 32_000)
        guest.send({ type: FrameType.DATA, id: 6, ...fields, offset, payload: Buffer.alloc(32_000) });
    });
    scene.later(() => fake.close());
    const config = containerConfig(['true']);
    const web = await fake.createContainer({ id: 'web', config, rootfs: { share: 'host', path: 'rootfs' } });
    web.process.stdout.on('error', () => undefined);
    web.process.wait().catch(() => undefined);
    await pause(1000);
  },
  async 'two-owners'(scene) {
    await scene.start();
    const shared = await scene.exec('shared', 'while :; do echo tick; sleep 0.05; done', { attach: false });
    const coracle = new Coracle({ proxy: scene.place.proxySocket });
    const two = [await coracle.connect(scene.sandbox.id), await coracle.connect(scene.sandbox.id)] as const;
    scene.later(() => two.map((one) => one.close()));
    for (let time = 0; time < 6; time++) {
      const attached = await (two[time % 2] as Sandbox).attach(shared.handle);
      await once(
        attached.stdout.on('error', () => undefined),
        'data',
      );
      attached.wait().catch(() => undefined);
    }
  },
  async 'wrong-token'(scene) {
    await scene.start();
    const locked = await scene.exec('locked', 'sleep 1000', { attach: false });
    const attached = await scene.sandbox
      .attach({ ...locked.handle, token: Buffer.alloc(16, 1) })
      .catch(() => undefined);
    attached?.wait().catch(() => undefined);
    await pause(1000);
  },
  async 'terminal-without-size'(scene) {
    await scene.start();
    const shell = await scene.exec('shell', 'stty size; sleep 1000', { terminal: true });
    shell.stdout.resume();
    await still();
  },
  async 'signal-ignored'(scene) {
    await scene.start();
    const stubborn = await scene.exec('stubborn', 'trap "" TERM; echo ready; while :; do sleep 0.2; done');
    await once(stubborn.stdout, 'data');
    stubborn.signal('SIGTERM');
    await still();
  },

  async busy(scene) {
    await scene.start();
    const shell = await scene.exec('shell', 'PS1="$ " exec sh', { terminal: { columns: 80, rows: 24 } });
    shell.stdout.resume();
    const type = async (line: string): Promise<void> => {
      for (const key of `${line}\r`) {
        shell.stdin.write(key);
        await pause(25);
      }
    };
    const build = await scene.exec(
      'build',
      'for i in $(seq 60); do head -c $((i * 900)) /dev/zero; sleep 0.03; done',
    );
    const built = build.output({ maxBytes: 1e9 });
    await type('cd /tmp; ls -l');
    const backup = await scene.exec('backup', 'wc -c', { stdin: true });
    const kept = backup.output();
    shell.resize({ columns: 120, rows: 30 });
    // Its reader takes 200 KB and then no more.
    const logs = await scene.exec('logs', 'while :; do seq 1 2000; sleep 0.01; done');
    let read = 0;
    logs.stdout.on('data', (chunk: Buffer) => {
      read += chunk.length;
      if (read > 200_000) logs.stdout.pause();
    });
    for (let part = 0; part < 40; part++) {
      backup.stdin.write(Buffer.alloc(20_000));
      await pause(25);
    }
    backup.stdin.end();
    await kept;
    for (let probe = 1; probe <= 3; probe++) {
      await (
        await scene.exec(`probe${probe}`, `echo checking; sleep 0.1; echo no answer >&2; exit ${probe % 2}`)
      ).output();
      await pause(150);
    }
    await type('exit');
    await Promise.all([shell.wait(), built]);
    await still();
  },

  async echo(scene) {
    await scene.start(['echo', 'hello']);
    await scene.web.process.output();
    await scene.sandbox.destroy();
  },
  async megabytes(scene) {
    await scene.start();
    await (await scene.exec('much', 'head -c 20000000 /dev/zero')).output({ maxBytes: 1e9 });
    await still();
  },
  async 'slow-reader'(scene) {
    await scene.start();
    const much = await scene.exec('much', 'head -c 3000000 /dev/zero');
    for await (const _ of much.stdout) await pause(20);
    await much.wait();
    await still();
  },
  async input(scene) {
    await scene.start();
    const cat = await scene.exec('cat', 'cat', { stdin: true });
    cat.stdin.end(Buffer.alloc(2_000_000));
    await cat.output({ maxBytes: 1e9 });
    await still();
  },
  async terminal(scene) {
    await scene.start();
    const shell = await scene.exec('shell', 'PS1="$ " exec sh', { terminal: { columns: 80, rows: 24 } });
    let shown = '';
    shell.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString();
    });
    const type = async (line: string, answer: string): Promise<void> => {
      for (const key of `${line}\r`) {
        shell.stdin.write(key);
        await pause(30);
      }
      await until(() => shown.includes(answer), `the shell answers ${line}`);
    };
    await until(() => shown.includes('$ '), 'the prompt');
    await type('stty size', '24 80');
    shell.resize({ columns: 100, rows: 30 });
    await type('stty size', '30 100');
    await type('printf "\\033[1;32mgreen\\033[0m and \\033[31mred\\033[0m\\n"', 'red');
    await type('exit', 'exit');
    await shell.wait();
  },
  async 'many-execs'(scene) {
    await scene.start();
    await Promise.all(
      Array.from(
        { length: 20 },
        async (_, index) => await (await scene.exec(`e${index}`, 'seq 1 2000')).output(),
      ),
    );
    await still();
  },
  async 'killed-proxy'(scene) {
    await scene.start();
    const seq = await scene.exec('seq', 'seq 1 200000; sleep 0.2; seq 1 200000');
    let killed: Promise<void> | undefined;
    for await (const _ of seq.stdout) killed ??= scene.place.killProxy();
    await killed;
    await seq.wait();
    await still();
  },
  async 'command-not-found'(scene) {
    await scene.start();
    await scene.web.exec({ args: ['no-such-command'], id: 'missing' }).catch(() => undefined);
    await still();
  },
  async signalled(scene) {
    await scene.start();
    const sleep = await scene.exec('sleep', 'exec sleep 1000');
    sleep.signal('SIGTERM');
    await sleep.wait();
    await still();
  },
  async 'early-end'(scene) {
    await scene.start();
    const yes = await scene.exec('yes', 'exec yes');
    await once(yes.stdout, 'data');
    yes.stdout.destroy();
    await yes.wait();
    await still();
  },
  async 'idle-shell'(scene) {
    await scene.start();
    const shell = await scene.exec('shell', 'exec sh', { terminal: { columns: 80, rows: 24 } });
    await once(shell.stdout, 'data');
    shell.stdout.resume();
    shell.stdin.write('echo hi\r');
    await still();
  },
  async 'handed-over'(scene) {
    await scene.start();
    const seq = await scene.exec('seq', 'sleep 1; seq 1 20000', { attach: false });
    await once(await scene.other(seq), 'exit');
    await still();
  },
  async 'two-waiters'(scene) {
    await scene.start(['sleep', '0.5']);
    const second = await new Coracle({ proxy: scene.place.proxySocket }).connect(scene.sandbox.id);
    const wait = second.container('web').process.wait();
    await scene.web.process.output();
    await wait;
    second.close();
    await still();
  },
};

/** Which folder a capture belongs to. */
const folders = new Map([
  ...failures.map(({ name }) => [name, 'failures'] as const),
  ...healthy.map(({ name }) => [name, 'healthy'] as const),
]);

const wanted = process.argv.slice(2);
for (const [name, play] of Object.entries(plays)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const folder = join(import.meta.dirname, folders.get(name) ?? 'unknown');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${name}.pcapng`);
  await using scene = await Scene.begin(path, name === 'terminal' ? 'payload' : 'digests');
  await play(scene);
  console.log(`${name}: recorded`);
}
for (const folder of ['failures', 'healthy'])
  for (const file of readdirSync(join(import.meta.dirname, folder)))
    console.log(`${folder}/${file}: ${readFileSync(join(import.meta.dirname, folder, file)).length} bytes`);
process.exit(0);
