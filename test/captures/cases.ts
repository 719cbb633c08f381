/**
 * What each capture in this folder holds, and what `coracle-tap diagnose` has to say of it. They were recorded by
 * make.ts from real runs with real faults.
 */
import type { Cause } from '@coracle/tap';

export interface FailureCase {
  readonly name: string;
  /** What was done. */
  readonly story: string;
  /** The causes that have to be named; no other problem may be. */
  readonly causes: readonly Cause[];
  /** What one of the findings has to say. */
  readonly says: RegExp;
}

export const failures: readonly FailureCase[] = [
  {
    name: 'stuck-reader',
    story: 'a program does not read the output of an exec that goes on printing',
    causes: ['no_credit'],
    says: /stdout of exec flood of web has no credit.*whoever reads what it writes has stopped reading/s,
  },
  {
    name: 'stopped-client',
    story: 'the program that has attached to an exec is stopped (SIGSTOP)',
    causes: ['no_credit'],
    says: /bytes wait in the proxy for it. It is stopped or stuck itself/,
  },
  {
    name: 'exit-waits-for-reader',
    story: 'an exec has exited, and not all of its 400,000 bytes are read',
    causes: ['exit_waits'],
    says: /the exit of exec short of web waits for stdout.*bytes [\d,]+ to 400,000.*has not said that it delivered them/s,
  },
  {
    name: 'exit-waits-for-credit',
    story: 'an exec has exited, and more than its window is not read',
    causes: ['exit_waits'],
    says: /may not send the rest/,
  },
  {
    name: 'stdin-not-read',
    story: 'an exec does not read its stdin',
    causes: ['no_credit'],
    says: /stdin of exec deaf of web has no credit.*Exec deaf of web does not read its stdin/s,
  },
  {
    name: 'half-close-missing',
    story: '`wc` was sent all of its input, and never told of the end',
    causes: ['input_open'],
    says: /exec count of web may wait for the end of its stdin/,
  },
  {
    name: 'agent-stopped',
    story: 'the agent is stopped while it is asked for a process list',
    causes: ['request_unanswered'],
    says: /ListProcesses of web is not answered.*The guest has sent nothing at all since then/s,
  },
  {
    name: 'agent-silent',
    story: 'the agent is stopped before the proxy greets it',
    causes: ['link_silent'],
    says: /the agent does not answer/,
  },
  {
    name: 'guest-does-not-read',
    story: 'the agent is stopped while 4 MiB are sent to an exec',
    causes: ['guest_silent', 'no_credit'],
    says: /bytes of client \d+ \(node, pid \d+\) wait in the proxy for it/,
  },
  {
    name: 'proxy-killed-often',
    story: 'the proxy is killed six times within seconds',
    causes: ['reconnect_loop'],
    says: /the proxy ends again and again/,
  },
  {
    name: 'link-loop',
    story: 'a guest closes the link each time, as soon as something is asked',
    causes: ['reconnect_loop'],
    says: /the link ends again and again/,
  },
  {
    name: 'vm-lost',
    story: 'the agent of a running container is killed',
    causes: ['vm_lost'],
    says: /the VM was lost.*Without an exit are web/s,
  },
  {
    name: 'client-gone',
    story: 'the program that has attached to an exec is killed, and nobody takes its place',
    causes: ['client_gone'],
    says: /nobody is attached to exec left of web.*has gone without a word/s,
  },
  {
    name: 'client-breaks-rules',
    story: 'a client says BOUND, which only the proxy may',
    causes: ['protocol_violation'],
    says: /BOUND from a client/,
  },
  {
    name: 'guest-breaks-rules',
    story: 'a guest sends more of an output than it has credit for, whoever asks',
    causes: ['protocol_violation', 'reconnect_loop'],
    says: /the agent breaks a rule of the protocol on stdout of web.*DATA goes to 1,?\d+/s,
  },
  {
    name: 'two-owners',
    story: 'two programs attach to the same exec in turn',
    causes: ['taken_over'],
    says: /clients take exec shared of web from each other/,
  },
  {
    name: 'wrong-token',
    story: 'a program attaches with a token that is not the right one',
    causes: ['refused'],
    says: /may not have exec locked of web.*permission_denied/s,
  },
  {
    name: 'terminal-without-size',
    story: 'a shell at a terminal that is never given a size',
    causes: ['terminal_size'],
    says: /the terminal of exec shell of web has no size/,
  },
  {
    name: 'busy',
    story: 'a container in which much goes on, and whose log is not read any more',
    causes: ['no_credit'],
    says: /stdout of exec logs of web has no credit/,
  },
  {
    name: 'signal-ignored',
    story: 'SIGTERM is sent to a shell that ignores it',
    causes: ['signal_unheeded'],
    says: /exec stubborn of web goes on after signal 15/,
  },
];

/** Nothing is wrong in any of these. */
export const healthy: readonly { readonly name: string; readonly story: string }[] = [
  { name: 'echo', story: 'a container that prints a line and ends' },
  { name: 'megabytes', story: '20 MB of output, read as fast as it comes' },
  { name: 'slow-reader', story: '3 MB of output, read slowly and to the end' },
  { name: 'input', story: '2 MB through `cat`, with an end' },
  { name: 'terminal', story: 'a shell at a terminal: typed into, made larger, left' },
  { name: 'many-execs', story: '20 execs at a time' },
  { name: 'killed-proxy', story: 'the proxy is killed once in mid-stream; nobody notices' },
  { name: 'command-not-found', story: 'an exec of a command that is not there' },
  { name: 'signalled', story: 'an exec is ended by a signal' },
  { name: 'early-end', story: 'a reader closes an output that would have gone on' },
  { name: 'idle-shell', story: 'a shell at a terminal waits for input; its container goes on' },
  { name: 'handed-over', story: 'an exec is handed over to another program, which reads to its end' },
  { name: 'two-waiters', story: 'two programs wait for the same container' },
];
