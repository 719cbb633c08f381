/** The state tables of docs/protocol.md, and the code driven through each of their cells. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';

const page = readFileSync(new URL('../../../../docs/protocol.md', import.meta.url), 'utf8').split('\n');

export interface Table {
  readonly events: readonly string[];
  readonly states: readonly { readonly name: string; readonly cells: readonly string[] }[];
}

/** The table whose first heading this is. */
export function tableOf(firstHeading: string): Table {
  const at = page.findIndex((line) => line.startsWith(`| ${firstHeading} `));
  const end = page.findIndex((line, index) => index > at && !line.startsWith('|'));
  const [header, , ...rows] = page.slice(at, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const states = rows.map(([name = '', ...cells]) => ({ name: /`(\w+)`/.exec(name)?.[1] ?? name, cells }));
  return { events: (header ?? []).slice(1), states };
}

/** The state that follows, and what is said or thrown. */
export type Outcome = { readonly state: string; readonly says: string };

export const now = (state: string, says = ''): Outcome => ({ state, says });

/** By state and event: what the page must say, and what the code must do. */
export type Expected = Record<string, Record<string, readonly [cell: RegExp, outcome: Outcome]>>;

/** Compares each cell with what `apply` does: a row or a column that the page gets needs its check. */
export async function checkTable(
  table: Table,
  expected: Expected,
  apply: (state: string, event: string) => Outcome | Promise<Outcome>,
): Promise<void> {
  expect(table.states.map(({ name }) => name)).toEqual(Object.keys(expected));
  for (const { name, cells } of table.states) {
    const row = expected[name] ?? {};
    expect(table.events, `events of ${name}`).toEqual(Object.keys(row));
    for (const [index, event] of table.events.entries()) {
      const [cell, outcome] = row[event] as readonly [RegExp, Outcome];
      expect(cells[index], `the page: ${name}, ${event}`).toMatch(cell);
      // What can't happen in this state is not tried.
      if (cells[index] === '–' && outcome.says === '–') continue;
      expect(await apply(name, event), `the code: ${name}, ${event}`).toEqual(outcome);
    }
  }
}
