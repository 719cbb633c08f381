/** What the agent's memory is bounded by (docs/limits.md, "The agent"), in one place. */

/**
 * What each output may always keep for its reader. A receiver says what it has delivered after 64 KiB at the latest
 * (wire's TELL_BYTES): with less than that, both would wait for each other.
 */
export const KEPT_PER_OUTPUT_BYTES = 64 * 1024;
/** What all outputs of the VM together may keep beyond that: as many streams as this has MiB run at full speed. */
export const SHARED_RETENTION_BYTES = 32 * 1024 * 1024;

/** What the local tier can be given other values for, so that tests reach them. */
export interface AgentLimits {
  /** Processes that run or are being started. Each costs the agent four descriptors. */
  readonly maxProcesses: number;
  /** Processes of one container that are remembered, for whoever asks late how they ended. */
  readonly maxExecRecords: number;
}

export const AGENT_LIMITS: AgentLimits = { maxProcesses: 2048, maxExecRecords: 4096 };

/** Of the name server of the host that the agent stands in for (ForwardNames). What is too much is dropped, as networks do. */
export const NAME_LIMITS = {
  /** Queries that wait for their answer: as many as coracle-names asks at a time (packages/shim/names/main.c). */
  maxQueries: 256,
  /** A query without an answer is forgotten, a connection without a query closed. As long as coracle-names waits. */
  answerMs: 15_000,
  maxConnections: 64,
  /** What waits to be read by the host. */
  maxQueuedBytes: 256 * 1024,
};
