/** Where each lane of a sequence diagram stands: lanes that are never there at the same time share a column. */
import type { LaneData, StepData } from '../src/report/data.ts';

export interface Placed {
  readonly lane: LaneData;
  readonly column: number;
  /** Rows, from its first step to its last one. */
  readonly first: number;
  last: number;
  /** The row in which it is made, for who is not there from the beginning. */
  made: number;
}

/** Clients to the left, the agent, processes to the right. */
export function placeLanes(lanes: readonly LaneData[], steps: readonly StepData[]): Map<string, Placed> {
  const spans = new Map<string, { first: number; last: number; made: number }>();
  const touch = (id: string, row: number, made = row): void => {
    const span = spans.get(id);
    if (span === undefined) spans.set(id, { first: row, last: row, made });
    else span.last = row;
  };
  for (const [row, { from, to, makes }] of steps.entries()) {
    touch(from, row);
    touch(to, row);
    if (makes !== undefined && lanes.some(({ id }) => id === makes)) touch(makes, row);
  }
  const placed = new Map<string, Placed>();
  let before = 0;
  for (const kind of ['client', 'agent', 'process'] as const) {
    const ends: number[] = [];
    const own = lanes
      .filter((lane) => lane.kind === kind)
      .flatMap((lane) => {
        const span = spans.get(lane.id);
        return span === undefined ? [] : [{ lane, span }];
      })
      .sort((a, b) => a.span.first - b.span.first);
    for (const { lane, span } of own) {
      const free = ends.findIndex((end) => end < span.first - 1);
      const column = free < 0 ? ends.length : free;
      ends[column] = span.last;
      placed.set(lane.id, { lane, column: before + column, ...span });
    }
    before += ends.length;
  }
  return placed;
}
