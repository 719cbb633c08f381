/**
 * coracle-proxy: the daemon. Started by whoever finds none; ends by itself when nobody has used it for a while.
 *
 *   coracle-proxy --socket PATH --sandboxes DIR [--sandbox ID] [--idle-exit-ms N] [--metrics [HOST:]PORT] [--log-level LEVEL]
 *                 [--lock-fd N]
 *
 * Prints `ready` on stdout when it listens (also when another one already does), logs JSON lines to stderr.
 */
import { parseArgs } from 'node:util';
import { isRpcError } from '@coracle/wire';
import pino from 'pino';
import { parseMetricsAddress } from './metrics-port.ts';
import { ProxyServer } from './proxy-server.ts';

/** Long enough for the next command of a script to find it, short enough to leave nothing behind. */
const IDLE_EXIT_MS = 10_000;

const usage =
  'usage: coracle-proxy --socket PATH --sandboxes DIR [--sandbox ID] [--idle-exit-ms N (0: never)] [--metrics [HOST:]PORT] [--log-level LEVEL] [--lock-fd N]';

function options() {
  const { values } = parseArgs({
    options: {
      socket: { type: 'string' },
      sandboxes: { type: 'string' },
      sandbox: { type: 'string' },
      'idle-exit-ms': { type: 'string', default: String(IDLE_EXIT_MS) },
      metrics: { type: 'string' },
      'log-level': { type: 'string', default: 'info' },
      'lock-fd': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const idleExitMs = Number(values['idle-exit-ms']);
  // A shim takes the lock before it starts us, and hands it on.
  const lockFd = values['lock-fd'] === undefined ? undefined : Number(values['lock-fd']);
  const numbers = [idleExitMs, lockFd ?? 0];
  if (values.socket === undefined || values.sandboxes === undefined || !numbers.every(Number.isInteger)) {
    throw new Error(usage);
  }
  // Shims start a proxy without arguments.
  const metricsText = values.metrics ?? process.env.CORACLE_METRICS ?? '';
  const metrics = metricsText === '' ? undefined : parseMetricsAddress(metricsText);
  if (metricsText !== '' && metrics === undefined) throw new Error(`${metricsText} is no [HOST:]PORT`);
  return {
    metrics,
    socket: values.socket,
    sandboxes: values.sandboxes,
    sandbox: values.sandbox,
    idleExitMs,
    level: values['log-level'],
    lockFd,
  };
}

async function main(): Promise<void> {
  const { socket, sandboxes, sandbox, idleExitMs, metrics, level, lockFd } = options();
  const log = pino({ level, name: 'coracle-proxy' }, pino.destination({ fd: 2, sync: true }));
  const proxy = new ProxyServer({
    sandboxes,
    log,
    ...(sandbox === undefined ? {} : { only: sandbox }),
    ...(metrics === undefined ? {} : { metrics }),
  });
  try {
    await proxy.listen(socket, lockFd);
  } catch (error) {
    if (!isRpcError(error) || error.code !== 'already_exists') throw error;
    process.stdout.write('ready\n');
    return;
  }
  const leave = (why: string): void => {
    log.info({ why }, 'closing');
    // Sockets that were told to go away may still hold a descriptor; nothing of theirs is worth waiting for.
    void proxy.close().then(() => process.exit(0));
  };
  let idleTimer: NodeJS.Timeout | undefined;
  const watchIdle = (): void => {
    if (idleExitMs === 0) return;
    clearTimeout(idleTimer);
    idleTimer = setTimeout(() => (proxy.idle ? leave('nobody uses this proxy') : undefined), idleExitMs);
  };
  proxy.onIdle = watchIdle;
  watchIdle();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => leave(signal));
  // The terminal of whoever started it may go away.
  process.on('SIGHUP', () => undefined);
  process.stdout.on('error', () => undefined);
  process.stdout.write('ready\n');
  log.info({ socket, sandboxes, pid: process.pid }, 'listening');
}

main().catch((error: unknown) => {
  process.stderr.write(`coracle-proxy: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
