/** Names short enough for the heads of a diagram. */
import type { Names } from '../model/names.ts';

/** "web", "web/shell", "process 3". */
export function shortProcess(names: Names, number: number): string {
  const name = names.process(number);
  if (name === undefined) return `process ${number}`;
  return target(name);
}

export function target({ container, exec }: { readonly container: string; readonly exec: string }): string {
  return exec === '' ? container : `${container}/${exec}`;
}
