import type { RecordView } from '../read/record-view.ts';
import { Names } from './names.ts';

/** Process numbers are a sandbox's own. */
export class NamesBySandbox {
  readonly #bySandbox = new Map<string, Names>();
  #last: { readonly sandbox: string; readonly names: Names } | undefined;

  of(record: RecordView): Names {
    const { sandbox } = record;
    if (this.#last?.sandbox === sandbox) return this.#last.names;
    let names = this.#bySandbox.get(sandbox);
    if (names === undefined) {
      names = new Names();
      this.#bySandbox.set(sandbox, names);
    }
    this.#last = { sandbox, names };
    return names;
  }
}
